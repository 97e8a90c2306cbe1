import CoreML
import Vision

/// Asks the model, off the main thread. What a pixel means, the labels and the threshold stand in the model file.
actor Classifier: Network {
    enum Problem: LocalizedError {
        case noModel, noPicture, noThreshold, noAnswer

        var errorDescription: String? {
            switch self {
            case .noModel: return String(localized: "There is no model in the app.")
            case .noPicture: return String(localized: "The model does not take a picture.")
            case .noThreshold: return String(localized: "The model does not say when it is not sure.")
            case .noAnswer: return String(localized: "The model gave no answer.")
            }
        }
    }

    nonisolated let threshold: Double
    nonisolated let shape: CGFloat
    private let model: VNCoreMLModel

    init(_ bundled: BundledModel, on unit: ComputeUnit) throws {
        let loaded = try bundled.load(on: unit)
        shape = try Self.shape(loaded.modelDescription)
        threshold = try Self.threshold(loaded.modelDescription)
        model = try VNCoreMLModel(for: loaded)
        model.inputImageFeatureName = "image"
    }

    private static func shape(_ description: MLModelDescription) throws -> CGFloat {
        guard let size = description.inputDescriptionsByName["image"]?.imageConstraint else {
            throw Problem.noPicture
        }
        return CGFloat(size.pixelsWide) / CGFloat(size.pixelsHigh)
    }

    private static func threshold(_ description: MLModelDescription) throws -> Double {
        let written = description.metadata[.creatorDefinedKey] as? [String: String]
        guard let text = written?["threshold"], let threshold = Double(text) else {
            throw Problem.noThreshold
        }
        return threshold
    }

    /// Loads a model without holding up the screen.
    @Sendable static func load(_ bundled: BundledModel, on unit: ComputeUnit) async throws -> any Network {
        try await Task.detached(priority: .userInitiated) { try Classifier(bundled, on: unit) }.value
    }

    func reply(to picture: Picture, crop: Crop) throws -> Reply {
        let request = VNCoreMLRequest(model: model)
        request.imageCropAndScaleOption = crop.option
        let handler = picture.handler
        let time = try ContinuousClock().measure { try handler.perform([request]) }
        guard let results = request.results as? [VNClassificationObservation], !results.isEmpty else {
            throw Problem.noAnswer
        }
        let answers = results
            .map { Answer(label: $0.identifier, probability: Double($0.confidence)) }
            .sorted { $0.probability > $1.probability }
        return Reply(answers: answers, milliseconds: time / .milliseconds(1))
    }
}
