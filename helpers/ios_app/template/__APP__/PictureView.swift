import SwiftUI

/// The picture as the network gets it: in the network's shape, fitted the way that is chosen.
struct PictureView: View {
    @ObservedObject var camera: Camera
    @ObservedObject var recognition: Recognition
    @Environment(\.openURL) private var openURL

    var body: some View {
        Color.black
            .aspectRatio(recognition.shape, contentMode: .fit)
            .overlay { picture }
            .clipShape(RoundedRectangle(cornerRadius: 16))
            .frame(maxWidth: 480)
    }

    @ViewBuilder private var picture: some View {
        if let photo = recognition.photo {
            fitted(Image(uiImage: photo).resizable())
                .accessibilityLabel("The photo that you chose")
        } else {
            switch camera.state {
            case .waiting, .running:
                CameraPreview(camera: camera, crop: recognition.crop)
                    .accessibilityElement()
                    .accessibilityLabel("What the camera sees")
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

    @ViewBuilder private func fitted(_ image: Image) -> some View {
        switch recognition.crop {
        case .centreCrop: image.scaledToFill()
        case .letterbox: image.scaledToFit()
        case .squash: image
        }
    }

    private func notice<Extra: View>(_ text: LocalizedStringKey, @ViewBuilder extra: () -> Extra) -> some View {
        VStack(spacing: 16) {
            Text(text).multilineTextAlignment(.center)
            extra()
        }
        .foregroundStyle(.white)
        .padding()
    }
}
