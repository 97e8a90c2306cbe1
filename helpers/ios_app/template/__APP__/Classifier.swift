import CoreML
import Vision

/// One class and the probability that the model gives it.
struct Answer: Identifiable, Equatable {
    let label: String
    let probability: Double

    var id: String { label }

    /// The label in the user's language, or as the model says it.
    var name: String {
        Bundle.main.localizedString(forKey: label, value: label, table: "Labels")
    }
}

/// Asks the model. What a pixel means, the labels and the threshold all stand in the model file.
final class Classifier {
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

    /// The model itself; the tests ask it without Vision.
    let model: MLModel
    /// An answer below this probability is shown as "not sure".
    let threshold: Double
    /// Width : height of the picture that the network takes.
    let shape: CGFloat

    private let visionModel: VNCoreMLModel

    init() throws {
        // Xcode compiles the model of this project into the app, as a folder that ends in .mlmodelc.
        let compiled = Bundle.main.urls(forResourcesWithExtension: "mlmodelc", subdirectory: nil)
        guard let file = compiled?.first else { throw Problem.noModel }
        let configuration = MLModelConfiguration()
        #if targetEnvironment(simulator)
        configuration.computeUnits = .cpuOnly
        #endif
        let model = try MLModel(contentsOf: file, configuration: configuration)

        let description = model.modelDescription
        guard let size = description.inputDescriptionsByName["image"]?.imageConstraint else {
            throw Problem.noPicture
        }
        let written = description.metadata[.creatorDefinedKey] as? [String: String]
        guard let text = written?["threshold"], let threshold = Double(text) else {
            throw Problem.noThreshold
        }

        self.model = model
        self.threshold = threshold
        shape = CGFloat(size.pixelsWide) / CGFloat(size.pixelsHigh)
        visionModel = try VNCoreMLModel(for: model)
        visionModel.inputImageFeatureName = "image"
    }

    /// The answers for one picture, the most probable first. Takes a moment: call it off the main thread.
    func answers(to picture: Picture, crop: Crop) throws -> [Answer] {
        let request = VNCoreMLRequest(model: visionModel)
        request.imageCropAndScaleOption = crop.option
        try picture.handler.perform([request])
        guard let results = request.results as? [VNClassificationObservation], !results.isEmpty else {
            throw Problem.noAnswer
        }
        return results
            .map { Answer(label: $0.identifier, probability: Double($0.confidence)) }
            .sorted { $0.probability > $1.probability }
    }
}
