import CoreML
import ImageIO
import XCTest

@testable import __APP__

/// The probabilities that were computed without a Mac, against the real Core ML.
final class ReferenceTests: XCTestCase {
    struct Reference: Decodable {
        struct Example: Decodable {
            let picture: String
            let orientation: UInt32
            let probabilities: [String: Double]
        }

        let tolerance: Double
        let threshold: Double
        let examples: [Example]
    }

    private func url(_ name: String, _ ending: String) throws -> URL {
        let bundle = Bundle(for: ReferenceTests.self)
        return try XCTUnwrap(bundle.url(forResource: name, withExtension: ending), name)
    }

    private func reference() throws -> Reference {
        let data = try Data(contentsOf: url("reference", "json"))
        return try JSONDecoder().decode(Reference.self, from: data)
    }

    private func picture(_ name: String) throws -> CGImage {
        let file = try url(name, "png")
        let source = try XCTUnwrap(CGImageSourceCreateWithURL(file as CFURL, nil), name)
        return try XCTUnwrap(CGImageSourceCreateImageAtIndex(source, 0, nil), name)
    }

    /// Core ML alone: the model's own names, and pictures that are upright already.
    func testCoreML() throws {
        let reference = try self.reference()
        let model = try Classifier().model
        let input = model.modelDescription.inputDescriptionsByName["image"]
        let constraint = try XCTUnwrap(input?.imageConstraint)
        for example in reference.examples where example.orientation == CGImagePropertyOrientation.up.rawValue {
            let image = try picture(example.picture)
            let value = try MLFeatureValue(cgImage: image, constraint: constraint, options: nil)
            let features = try MLDictionaryFeatureProvider(dictionary: ["image": value])
            let output = try model.prediction(from: features)
            let found = try XCTUnwrap(output.featureValue(for: "classLabelProbs")).dictionaryValue
            let label = try XCTUnwrap(output.featureValue(for: "classLabel")).stringValue
            for (name, expected) in example.probabilities {
                let probability = try XCTUnwrap(found[AnyHashable(name)], name).doubleValue
                XCTAssertEqual(probability, expected, accuracy: reference.tolerance, "\(example.picture): \(name)")
            }
            let best = example.probabilities.values.max() ?? 1
            let given = try XCTUnwrap(example.probabilities[label], label)
            XCTAssertGreaterThan(given, best - reference.tolerance, example.picture)
        }
    }

    /// The app's own way through Vision. The pictures have the network's size, so fitting must change nothing.
    func testClassifier() throws {
        let reference = try self.reference()
        let classifier = try Classifier()
        XCTAssertEqual(classifier.threshold, reference.threshold, accuracy: 1e-6)
        for example in reference.examples {
            let orientation = try XCTUnwrap(CGImagePropertyOrientation(rawValue: example.orientation))
            let picture = Picture.photo(try self.picture(example.picture), orientation)
            for crop in Crop.allCases {
                let answers = try classifier.answers(to: picture, crop: crop)
                XCTAssertEqual(answers.count, example.probabilities.count)
                for answer in answers {
                    let expected = try XCTUnwrap(example.probabilities[answer.label], answer.label)
                    let place = "\(example.picture), \(crop): \(answer.label)"
                    XCTAssertEqual(answer.probability, expected, accuracy: reference.tolerance, place)
                }
            }
        }
    }
}
