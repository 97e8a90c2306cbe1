import Combine
import Foundation
import ImageIO
import PhotosUI

/// Where a photo's bytes come from: the library, or memory in a test.
protocol PhotoSource {
    /// Calls back once, from any thread; with nil when the bytes cannot be had.
    func load(then deliver: @escaping @Sendable (Data?) -> Void) -> Progress
}

extension PhotosPickerItem: PhotoSource {
    func load(then deliver: @escaping @Sendable (Data?) -> Void) -> Progress {
        loadTransferable(type: Data.self) { result in deliver(try? result.get()) }
    }
}

/// Fetches and decodes the photo that was chosen last.
@MainActor
final class PhotoLoader: ObservableObject {
    /// The photo that is on its way, from iCloud perhaps. How far it has got, the system does not say.
    @Published private(set) var progress: Progress?
    /// The last choice could not be opened. It can be chosen again.
    @Published var failed = false
    /// Is given the photo, upright.
    var onPhoto: ((Picture) -> Void)?

    private var choice = 0

    /// A newer choice wins over an older one that is still on its way.
    func load(_ source: some PhotoSource) {
        cancel()
        failed = false
        let number = choice
        progress = source.load { data in
            Task.detached(priority: .userInitiated) {
                let photo = data.flatMap(Self.decode)
                await self.finish(photo, number)
            }
        }
    }

    func cancel() {
        progress?.cancel()
        progress = nil
        choice += 1
    }

    private func finish(_ photo: Picture?, _ number: Int) {
        guard number == choice else { return }
        progress = nil
        if let photo {
            onPhoto?(photo)
        } else {
            failed = true
        }
    }

    /// Decodes a photo small, so that 48 megapixels do not take 200 MB; turned upright as its file says.
    nonisolated static func decode(_ data: Data) -> Picture? {
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true,
            kCGImageSourceCreateThumbnailWithTransform: true,
            kCGImageSourceThumbnailMaxPixelSize: 1024,
        ]
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
              let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)
        else { return nil }
        return .photo(image)
    }
}
