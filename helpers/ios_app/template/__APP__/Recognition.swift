import Combine
import Foundation
import OSLog

/// What the screen shows, and what happens next. Everything here runs on the main actor; the network does not.
@MainActor
final class Recognition: ObservableObject {
    typealias Load = @Sendable (BundledModel, ComputeUnit) async throws -> any Network

    /// What the headline says.
    enum Verdict: Equatable {
        case unusable(String), noPicture, looking, failed, notSure, sure(Answer)
    }

    @Published var crop = Crop.centreCrop { didSet { lookAgain() } }
    @Published var model: BundledModel? { didSet { load() } }
    @Published var unit = ComputeUnit.all { didSet { load() } }
    @Published private(set) var photo: Picture?
    @Published private(set) var reply: Reply?
    @Published private(set) var failed = false
    @Published private(set) var problem: String?
    @Published private(set) var shape: CGFloat = 1

    let models: [BundledModel]
    private let make: Load
    private var network: (any Network)?
    private let log = Logger(subsystem: Bundle.main.bundleIdentifier ?? "app", category: "recognition")
    private var loads = 0
    private var asked = 0
    private var underway = 0

    init(models: [BundledModel] = BundledModel.all(), make: @escaping Load = Classifier.load) {
        self.models = models
        self.make = make
        model = models.first
        load()
    }

    /// The camera rests while a photo is shown.
    var wantsCamera: Bool { photo == nil }

    func verdict(hasCamera: Bool) -> Verdict {
        if let problem { return .unusable(problem) }
        guard let best = reply?.answers.first, let network else {
            if failed { return .failed }
            return photo != nil || hasCamera ? .looking : .noPicture
        }
        return best.probability < network.threshold ? .notSure : .sure(best)
    }

    /// A frame of the camera. It is passed over while a photo is shown, or an earlier picture is not done.
    func see(_ frame: Picture) {
        if photo == nil && underway == 0 { ask(frame) }
    }

    func show(_ photo: Picture) {
        self.photo = photo
        forget()
        lookAgain()
    }

    func returnToCamera() {
        photo = nil
        forget()
    }

    /// What was said, and what is still being asked, is of no interest any more.
    private func forget() {
        reply = nil
        failed = false
        asked += 1
    }

    private func lookAgain() {
        asked += 1
        if let photo { ask(photo) }
    }

    private func load() {
        forget()
        network = nil
        loads += 1
        let number = loads, unit = unit
        guard let model else {
            problem = Classifier.Problem.noModel.localizedDescription
            return
        }
        Task {
            do {
                let loaded = try await make(model, unit)
                guard number == loads else { return }
                (network, shape, problem) = (loaded, loaded.shape, nil)
                lookAgain()
            } catch {
                log.error("\(model.name, privacy: .public): \(String(describing: error), privacy: .public)")
                if number == loads { problem = error.localizedDescription }
            }
        }
    }

    private func ask(_ picture: Picture) {
        guard let network else { return }
        asked += 1
        underway += 1
        let number = asked, crop = crop
        Task {
            var found: Reply?
            do {
                found = try await network.reply(to: picture, crop: crop)
            } catch {
                log.error("\(String(describing: error), privacy: .public)")
            }
            underway -= 1
            guard number == asked else { return }
            (reply, failed) = (found, found == nil)
        }
    }
}
