import PhotosUI
import SwiftUI

/// The one screen: the picture, the answers, what can be chosen, and where pictures come from.
struct ContentView: View {
    @ObservedObject var camera: Camera
    @ObservedObject var photos: PhotoLoader
    @ObservedObject var recognition: Recognition
    @State private var chosen: PhotosPickerItem?
    @Environment(\.verticalSizeClass) private var heightClass
    @Environment(\.dynamicTypeSize) private var textSize

    var body: some View {
        NavigationStack {
            ScrollView {
                layout {
                    PictureView(camera: camera, photos: photos, recognition: recognition)
                    VStack(alignment: .leading, spacing: 20) {
                        AnswersView(recognition: recognition, hasCamera: camera.state == .running)
                        SettingsView(recognition: recognition)
                    }
                    .frame(maxWidth: .infinity, alignment: .leading)
                }
                .padding()
            }
            .navigationTitle("What is it?")
            .navigationBarTitleDisplayMode(.inline)
            .toolbar { buttons }
        }
        .onAppear {
            camera.onFrame = { [recognition] frame in recognition.see(frame) }
            photos.onPhoto = { [recognition] photo in recognition.show(photo) }
        }
        .onChange(of: recognition.wantsCamera, initial: true) { _, wanted in
            if wanted { camera.start() } else { camera.stop() }
        }
        .onChange(of: chosen) { _, item in
            guard let item else { return }
            photos.load(item)
            chosen = nil // so that the same photo can be chosen again
        }
        .alert("This photo cannot be opened.", isPresented: $photos.failed) {
            Button("OK") { photos.failed = false }
        }
    }

    /// Side by side on a phone that is held sideways, unless the text is very large; else one above the other.
    private var layout: AnyLayout {
        heightClass == .compact && !textSize.isAccessibilitySize
            ? AnyLayout(HStackLayout(alignment: .top, spacing: 20))
            : AnyLayout(VStackLayout(alignment: .center, spacing: 20))
    }

    @ToolbarContentBuilder private var buttons: some ToolbarContent {
        ToolbarItem(placement: .topBarLeading) {
            if recognition.wantsCamera {
                Button {
                    camera.flip()
                } label: {
                    Label("Other camera", systemImage: "arrow.triangle.2.circlepath.camera")
                }
                .disabled(!camera.canFlip)
            } else {
                Button {
                    photos.cancel()
                    recognition.returnToCamera()
                } label: {
                    Label("Camera", systemImage: "camera")
                }
            }
        }
        ToolbarItem(placement: .topBarTrailing) {
            PhotosPicker(selection: $chosen, matching: .images) {
                Label("Choose a photo", systemImage: "photo.on.rectangle")
            }
        }
    }
}

#Preview("The whole screen") {
    ContentView(camera: Camera(), photos: PhotoLoader(), recognition: .canned())
}

#Preview("Largest text") {
    ContentView(camera: Camera(), photos: PhotoLoader(), recognition: .canned())
        .environment(\.dynamicTypeSize, .accessibility5)
}
