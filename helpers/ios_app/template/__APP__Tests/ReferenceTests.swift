import CoreML
import ImageIO
import XCTest

@testable import __APP__

/// The probabilities that were computed without a Mac, against the real Core ML.
final class ReferenceTests: XCTestCase {
    struct Reference: Decodable {
        struct Model: Decodable {
            let name: String
            let threshold: Double
            let examples: [Example]
        }

        struct Example: Decodable {
            let picture: String
            let orientation: UInt32
            /// The picture has another shape than the network's input, and is fitted this way; nil: it has the same.
            let crop: String?
            let probabilities: [String: Double]
        }

        let tolerance: Double
        let models: [Model]
    }

    private func url(_ name: String, _ ending: String) throws -> URL {
        let bundle = Bundle(for: ReferenceTests.self)
        return try XCTUnwrap(bundle.url(forResource: name, withExtension: ending), name)
    }

    private func reference() throws -> Reference {
        let data = try Data(contentsOf: url("reference", "json"))
        return try JSONDecoder().decode(Reference.self, from: data)
    }

    private func bundled(_ name: String) throws -> BundledModel {
        try XCTUnwrap(BundledModel.all().first { $0.name == name }, name)
    }

    private func picture(_ name: String) throws -> CGImage {
        let file = try url(name, "png")
        let source = try XCTUnwrap(CGImageSourceCreateWithURL(file as CFURL, nil), name)
        return try XCTUnwrap(CGImageSourceCreateImageAtIndex(source, 0, nil), name)
    }

    func testEveryModelIsThere() throws {
        let names = try reference().models.map(\.name)
        XCTAssertEqual(BundledModel.all().map(\.name), names.sorted())
    }

    /// Core ML alone: the model's own names, and pictures that are upright and have the network's size.
    func testCoreML() throws {
        let reference = try self.reference()
        for listed in reference.models {
            let model = try bundled(listed.name).load(on: .cpu)
            let input = model.modelDescription.inputDescriptionsByName["image"]
            let constraint = try XCTUnwrap(input?.imageConstraint)
            for example in listed.examples where example.orientation == 1 && example.crop == nil {
                let image = try picture(example.picture)
                let value = try MLFeatureValue(cgImage: image, constraint: constraint, options: nil)
                let features = try MLDictionaryFeatureProvider(dictionary: ["image": value])
                let output = try model.prediction(from: features)
                let found = try XCTUnwrap(output.featureValue(for: "classLabelProbs")).dictionaryValue
                let label = try XCTUnwrap(output.featureValue(for: "classLabel")).stringValue
                for (name, expected) in example.probabilities {
                    let probability = try XCTUnwrap(found[AnyHashable(name)], name).doubleValue
                    let place = "\(listed.name), \(example.picture): \(name)"
                    XCTAssertEqual(probability, expected, accuracy: reference.tolerance, place)
                }
                let best = example.probabilities.values.max() ?? 1
                let given = try XCTUnwrap(example.probabilities[label], label)
                XCTAssertGreaterThan(given, best - reference.tolerance, example.picture)
            }
        }
    }

    /// The app's own way through Vision. A picture of the network's size has to be the same however it is fitted;
    /// one of another shape says what a letterbox leaves free: black.
    func testClassifier() async throws {
        let reference = try self.reference()
        for listed in reference.models {
            let classifier = try Classifier(bundled(listed.name), on: .cpu)
            XCTAssertEqual(classifier.threshold, listed.threshold, accuracy: 1e-6)
            for example in listed.examples {
                let orientation = try XCTUnwrap(CGImagePropertyOrientation(rawValue: example.orientation))
                let picture = Picture.photo(try self.picture(example.picture), orientation)
                for crop in Crop.allCases where example.crop == nil || example.crop == "\(crop)" {
                    let answers = try await classifier.reply(to: picture, crop: crop).answers
                    XCTAssertEqual(answers.count, example.probabilities.count)
                    for answer in answers {
                        let expected = try XCTUnwrap(example.probabilities[answer.label], answer.label)
                        let place = "\(listed.name), \(example.picture), \(crop): \(answer.label)"
                        XCTAssertEqual(answer.probability, expected, accuracy: reference.tolerance, place)
                    }
                }
            }
        }
    }
}
