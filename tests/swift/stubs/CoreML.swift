// Source: developer.apple.com/documentation/coreml (mlmodel, mlmodelconfiguration, mlcomputeunits,
// mlmodeldescription, mlmodelmetadatakey, mlimageconstraint, mlfeaturevalue, mldictionaryfeatureprovider).
// Whether an SDK calls MLModel Sendable depends on its year; here it is not, which is the stricter reading.
@_exported import CoreVideo
@_exported import ImageIO

public enum MLComputeUnits: Int, Sendable { case cpuOnly = 0, cpuAndGPU, all, cpuAndNeuralEngine }

open class MLModelConfiguration: NSObject {
    open var computeUnits: MLComputeUnits = .all
    public override init() {}
}

public struct MLModelMetadataKey: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let creatorDefinedKey = Self(rawValue: "MLModelCreatorDefinedKey")
}

open class MLImageConstraint: NSObject {
    public let pixelsWide: Int, pixelsHigh: Int
    public init(_ wide: Int, _ high: Int) { (pixelsWide, pixelsHigh) = (wide, high) }  // for the tests on Linux
}
open class MLFeatureDescription: NSObject {
    public let imageConstraint: MLImageConstraint?
    public init(_ image: MLImageConstraint?) { imageConstraint = image }  // for the tests on Linux
}
open class MLModelDescription: NSObject {
    public let inputDescriptionsByName: [String: MLFeatureDescription]
    public let metadata: [MLModelMetadataKey: Any]
    public init(_ inputs: [String: MLFeatureDescription], _ data: [MLModelMetadataKey: Any]) {  // for the tests
        (inputDescriptionsByName, metadata) = (inputs, data)
    }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}
open class MLFeatureValue: NSObject {
    public struct ImageOption: Hashable, RawRepresentable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
    }
    open var stringValue: String { "" }
    open var dictionaryValue: [AnyHashable: NSNumber] { [:] }
    public override init() {}
    public convenience init(
        cgImage: CGImage, constraint: MLImageConstraint, options: [MLFeatureValue.ImageOption: Any]? = nil
    ) throws { self.init() }
}
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    open var featureNames: Set<String> { [] }
    open func featureValue(for featureName: String) -> MLFeatureValue? { nil }
    public init(dictionary: [String: Any]) throws {}
}

open class MLModel: NSObject {
    /// For the tests on Linux: what each file holds, and with what it was opened.
    nonisolated(unsafe) public static var files: [String: MLModelDescription] = [:]
    nonisolated(unsafe) public static var opened: [MLComputeUnits] = []
    struct Unreadable: Error {}
    public let modelDescription: MLModelDescription
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        Self.opened.append(configuration.computeUnits)
        guard let found = Self.files[url.lastPathComponent] else { throw Unreadable() }
        modelDescription = found
    }
    open func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { input }
}
@available(*, unavailable) extension MLModel: Sendable {}
