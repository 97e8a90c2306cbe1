import Combine
import ImageIO
import UIKit

/// What the screen shows. Everything here happens on the main thread; only the model runs on a queue of its own.
final class Recognition: ObservableObject {
    @Published var crop = Crop.centreCrop { didSet { lookAgain() } }
    @Published private(set) var photo: UIImage?
    @Published private(set) var answers: [Answer] = []
    @Published private(set) var failed = false

    /// Why the model cannot be used, if it cannot.
    let problem: String?
    private let classifier: Classifier?
    private let queue = DispatchQueue(label: "classifier", qos: .userInitiated)
    private var asked = 0
    private var isBusy = false

    init() {
        do {
            classifier = try Classifier()
            problem = nil
        } catch {
            classifier = nil
            problem = error.localizedDescription
        }
    }

    var threshold: Double { classifier?.threshold ?? 1 }
    var shape: CGFloat { classifier?.shape ?? 1 }

    /// A frame of the camera. It is passed over while a photo is shown, or the last frame is not done.
    func see(_ frame: Picture) {
        if photo == nil && !isBusy { ask(frame) }
    }

    func show(_ photo: UIImage) {
        self.photo = photo
        answers = []
        lookAgain()
    }

    func returnToCamera() {
        photo = nil
        answers = []
        asked += 1
    }

    private func lookAgain() {
        guard let photo, let image = photo.cgImage else { return }
        ask(.photo(image, CGImagePropertyOrientation(photo.imageOrientation)))
    }

    private func ask(_ picture: Picture) {
        guard let classifier else { return }
        asked += 1
        isBusy = true
        let number = asked
        let crop = self.crop
        queue.async {
            let found = try? classifier.answers(to: picture, crop: crop)
            DispatchQueue.main.async {
                self.isBusy = false
                // What was asked about an earlier picture is of no interest any more.
                guard number == self.asked else { return }
                self.failed = found == nil
                self.answers = found ?? []
            }
        }
    }
}
