import SwiftUI

/// The picture as the network gets it: in the network's shape, fitted the way that is chosen.
struct PictureView: View {
    @ObservedObject var camera: Camera
    @ObservedObject var photos: PhotoLoader
    @ObservedObject var recognition: Recognition
    @Environment(\.openURL) private var openURL

    var body: some View {
        Color.black
            .aspectRatio(recognition.shape, contentMode: .fit)
            .overlay { picture }
            .overlay { progress }
            .clipShape(RoundedRectangle(cornerRadius: 16))
            .frame(maxWidth: 480)
    }

    @ViewBuilder private var picture: some View {
        if let image = recognition.photo?.image {
            fitted(Image(image, scale: 1, label: Text("The photo that you chose")).resizable())
        } else {
            switch camera.state {
            case .waiting, .running:
                CameraPreview(camera: camera, crop: recognition.crop)
                    .accessibilityElement()
                    .accessibilityLabel("What the camera sees")
            case .interrupted:
                notice("The camera is in use elsewhere. It comes back when it is free.") { EmptyView() }
            case .forbidden:
                notice("The app may not use the camera. Allow it in Settings, or choose a photo.") {
                    Button("Open Settings") {
                        if let settings = URL(string: UIApplication.openSettingsURLString) {
                            openURL(settings)
                        }
                    }
                    .buttonStyle(.bordered)
                }
            case .missing:
                notice("There is no camera here. Choose a photo.") { EmptyView() }
            }
        }
    }

    /// Black where the photo leaves the shape free, as in what the network gets.
    @ViewBuilder private func fitted(_ image: Image) -> some View {
        switch recognition.crop {
        case .centreCrop: image.scaledToFill()
        case .letterbox: image.scaledToFit()
        case .squash: image
        }
    }

    @ViewBuilder private var progress: some View {
        if photos.progress != nil {
            ProgressView()
                .padding()
                .background(.regularMaterial)
                .accessibilityLabel("The photo is being fetched.")
        }
    }

    /// Scrolls, because at the largest text size it is longer than the picture is high.
    private func notice<Extra: View>(_ text: LocalizedStringKey, @ViewBuilder extra: () -> Extra) -> some View {
        ScrollView {
            VStack(spacing: 16) {
                Text(text).multilineTextAlignment(.center)
                extra()
            }
            .frame(maxWidth: .infinity)
            .padding()
        }
        .foregroundStyle(.white)
    }
}

#Preview("A photo") {
    PictureView(camera: Camera(), photos: PhotoLoader(), recognition: .canned())
}

#Preview("No photo") {
    PictureView(camera: Camera(), photos: PhotoLoader(), recognition: .canned(photo: nil))
}
