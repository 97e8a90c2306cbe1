// Source: developer.apple.com/documentation/vision (vncoremlmodel, vncoremlrequest, vnimagerequesthandler,
// vnclassificationobservation, vnimagecropandscaleoption with its five cases). Nothing here is Sendable.
@_exported import CoreML

public typealias VNConfidence = Float
public enum VNImageCropAndScaleOption: UInt, Sendable {
    case centerCrop = 0, scaleFit = 1, scaleFill = 2, scaleFitRotate90CCW = 257, scaleFillRotate90CCW = 258
}

open class VNObservation: NSObject {
    public let confidence: VNConfidence
    init(_ confidence: VNConfidence) { self.confidence = confidence }
}
open class VNClassificationObservation: VNObservation {
    public let identifier: String
    public init(_ label: String, _ confidence: VNConfidence) {  // for the tests on Linux
        identifier = label
        super.init(confidence)
    }
}

open class VNRequest: NSObject {
    open fileprivate(set) var results: [VNObservation]?
}
@available(*, unavailable) extension VNRequest: Sendable {}
open class VNCoreMLModel: NSObject {
    open var inputImageFeatureName = ""
    public init(for model: MLModel) throws {}
}
@available(*, unavailable) extension VNCoreMLModel: Sendable {}
open class VNCoreMLRequest: VNRequest {
    public let model: VNCoreMLModel
    open var imageCropAndScaleOption = VNImageCropAndScaleOption.centerCrop
    public init(model: VNCoreMLModel) { self.model = model }
}

public struct VNImageOption: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
}

open class VNImageRequestHandler: NSObject {
    /// For the tests on Linux: answers a request, or throws. Not called on the main thread.
    nonisolated(unsafe) public static var answer: (VNImageRequestHandler, VNCoreMLRequest) throws -> [VNObservation]? =
        { _, _ in nil }
    public let orientation: CGImagePropertyOrientation
    public let image: CGImage?
    public init(
        cvPixelBuffer: CVPixelBuffer, orientation: CGImagePropertyOrientation, options: [VNImageOption: Any] = [:]
    ) { (self.orientation, image) = (orientation, nil) }
    public init(cgImage: CGImage, orientation: CGImagePropertyOrientation, options: [VNImageOption: Any] = [:]) {
        (self.orientation, image) = (orientation, cgImage)
    }
    open func perform(_ requests: [VNRequest]) throws {
        dispatchPrecondition(condition: .notOnQueue(.main)) // it takes a while
        for case let request as VNCoreMLRequest in requests { request.results = try Self.answer(self, request) }
    }
}
@available(*, unavailable) extension VNImageRequestHandler: Sendable {}
