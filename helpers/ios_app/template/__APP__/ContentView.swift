import PhotosUI
import SwiftUI

/// The one screen: the picture, the way it is fitted, the answers, and where pictures come from.
struct ContentView: View {
    @StateObject private var camera = Camera()
    @StateObject private var recognition = Recognition()
    @State private var chosen: PhotosPickerItem?
    @State private var photoFailed = false
    @Environment(\.verticalSizeClass) private var heightClass

    var body: some View {
        if let problem = recognition.problem {
            ContentUnavailableView(
                "The model cannot be used",
                systemImage: "exclamationmark.triangle",
                description: Text(verbatim: problem)
            )
        } else {
            screen
        }
    }

    private var screen: some View {
        NavigationStack {
            ScrollView {
                layout {
                    PictureView(camera: camera, recognition: recognition)
                    VStack(alignment: .leading, spacing: 20) {
                        AnswersView(recognition: recognition, hasPicture: hasPicture)
                        fitting
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
            camera.start()
        }
        .onChange(of: chosen) { _, item in
            guard let item else { return }
            Task { await load(item) }
        }
        .alert("This photo cannot be opened.", isPresented: $photoFailed) {
            Button("OK") { photoFailed = false }
        }
    }

    private var hasPicture: Bool {
        recognition.photo != nil || camera.state == .running
    }

    /// Side by side on a phone that is held sideways, else one above the other.
    private var layout: AnyLayout {
        heightClass == .compact
            ? AnyLayout(HStackLayout(alignment: .top, spacing: 20))
            : AnyLayout(VStackLayout(alignment: .center, spacing: 20))
    }

    private var fitting: some View {
        VStack(alignment: .leading, spacing: 8) {
            Picker("How the picture is fitted", selection: $recognition.crop) {
                ForEach(Crop.allCases) { crop in
                    Text(crop.name).tag(crop)
                }
            }
            .pickerStyle(.segmented)
            Text(recognition.crop.explanation)
                .font(.footnote)
                .foregroundStyle(.secondary)
        }
    }

    @ToolbarContentBuilder private var buttons: some ToolbarContent {
        ToolbarItem(placement: .topBarLeading) {
            Button {
                chosen = nil
                recognition.returnToCamera()
                camera.start()
            } label: {
                Label("Camera", systemImage: "camera")
            }
            .disabled(recognition.photo == nil)
        }
        ToolbarItem(placement: .topBarTrailing) {
            PhotosPicker(selection: $chosen, matching: .images) {
                Label("Choose a photo", systemImage: "photo.on.rectangle")
            }
        }
    }

    @MainActor private func load(_ item: PhotosPickerItem) async {
        guard let data = try? await item.loadTransferable(type: Data.self),
              let photo = UIImage(data: data), photo.cgImage != nil
        else {
            photoFailed = true
            return
        }
        camera.stop()
        recognition.show(photo)
    }
}
