import SwiftUI

/// Where the app begins: one window that shows one view.
@main
struct MainApp: App {
    var body: some Scene {
        WindowGroup {
            ContentView()
        }
    }
}
