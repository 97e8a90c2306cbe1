import SwiftUI

/// Where the app begins: one window that shows one view.
@main
struct MainApp: App {
    @StateObject private var camera = Camera()
    @StateObject private var photos = PhotoLoader()
    @StateObject private var recognition = Recognition()

    var body: some Scene {
        WindowGroup {
            ContentView(camera: camera, photos: photos, recognition: recognition)
        }
    }
}
