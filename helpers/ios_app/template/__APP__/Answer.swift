import Foundation

/// One class and the probability that the model gives it.
struct Answer: Identifiable, Equatable, Sendable {
    let label: String
    let probability: Double

    var id: String { label }

    /// The label in the user's language, or as the model says it.
    var name: String {
        Bundle.main.localizedString(forKey: label, value: label, table: "Labels")
    }
}

/// What a network says about one picture, and how long it took.
struct Reply: Equatable, Sendable {
    /// The most probable first.
    let answers: [Answer]
    let milliseconds: Double
}

/// What the screen asks: the app asks a Classifier, previews and tests ask a network with canned answers.
protocol Network: Sendable {
    /// An answer below this probability is shown as "not sure".
    var threshold: Double { get }
    /// Width : height of the picture that the network takes.
    var shape: CGFloat { get }

    func reply(to picture: Picture, crop: Crop) async throws -> Reply
}
