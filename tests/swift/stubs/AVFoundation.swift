// Source: developer.apple.com/documentation/avfoundation (avcapturesession, avcapturedevice and its
// rotationcoordinator, avcapturevideodataoutput, avcaptureconnection, avcapturevideopreviewlayer). Sessions, devices
// and inputs are not Sendable: Apple's sample AVCam reaches them from an actor of its own.
@_exported import CoreMedia
@_exported import ImageIO
@_exported import QuartzCore

public struct AVMediaType: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let video = Self(rawValue: "vide")
}
public struct AVLayerVideoGravity: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let resizeAspect = Self(rawValue: "aspect"), resizeAspectFill = Self(rawValue: "fill")
    public static let resize = Self(rawValue: "resize")
}

open class AVCaptureDevice: NSObject {
    public struct DeviceType: Hashable, RawRepresentable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
        public static let builtInWideAngleCamera = Self(rawValue: "wide")
    }
    public enum Position: Int, Sendable { case unspecified = 0, back, front }

    /// For the tests on Linux: which cameras there are, whether the user allows them, how often they were asked.
    nonisolated(unsafe) public static var cameras: [Position] = []
    nonisolated(unsafe) public static var allowed = true
    public let position: Position
    init(_ position: Position) { self.position = position }

    open class func `default`(
        _ deviceType: AVCaptureDevice.DeviceType, for mediaType: AVMediaType?, position: AVCaptureDevice.Position
    ) -> AVCaptureDevice? { cameras.contains(position) ? AVCaptureDevice(position) : nil }
    public class func requestAccess(for mediaType: AVMediaType) async -> Bool { allowed }

    open class RotationCoordinator: NSObject {
        open var videoRotationAngleForHorizonLevelPreview: CGFloat { 90 }
        open var videoRotationAngleForHorizonLevelCapture: CGFloat { 90 }
        public init(device: AVCaptureDevice, previewLayer: CALayer?) {}
    }
}
@available(*, unavailable) extension AVCaptureDevice: Sendable {}

open class AVCaptureInput: NSObject {}
open class AVCaptureDeviceInput: AVCaptureInput {
    public let device: AVCaptureDevice
    public init(device: AVCaptureDevice) throws { self.device = device }
}
open class AVCaptureConnection: NSObject {
    open var videoRotationAngle: CGFloat = -1
    open func isVideoRotationAngleSupported(_ videoRotationAngle: CGFloat) -> Bool { true }
}
open class AVCaptureOutput: NSObject {
    private let line = AVCaptureConnection()
    public override init() {}
    open func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { line }
}
/// On Apple's systems the method is optional: a misspelled one is never called. Here it is an error.
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: NSObjectProtocol {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}
open class AVCaptureVideoDataOutput: AVCaptureOutput {
    open var alwaysDiscardsLateVideoFrames = true
    open func setSampleBufferDelegate(
        _ sampleBufferDelegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?,
        queue sampleBufferCallbackQueue: DispatchQueue?
    ) { (delegate, queue) = (sampleBufferDelegate, sampleBufferCallbackQueue) }
    private weak var delegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?
    private var queue: DispatchQueue?
    /// For the tests on Linux: a frame comes, on the queue that was asked for.
    public func deliver(_ buffer: CVImageBuffer?) {
        queue?.sync { delegate?.captureOutput(self, didOutput: CMSampleBuffer(buffer: buffer), from: AVCaptureConnection()) }
    }
}

open class AVCaptureSession: NSObject {
    public struct Preset: Hashable, RawRepresentable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
        public static let high = Self(rawValue: "high"), vga640x480 = Self(rawValue: "640x480")
    }
    public static let runtimeErrorNotification = NSNotification.Name("AVCaptureSessionRuntimeErrorNotification")
    public static let wasInterruptedNotification = NSNotification.Name("AVCaptureSessionWasInterruptedNotification")
    public static let interruptionEndedNotification =
        NSNotification.Name("AVCaptureSessionInterruptionEndedNotification")

    public override init() {}
    open var sessionPreset = AVCaptureSession.Preset.high
    open func canSetSessionPreset(_ preset: AVCaptureSession.Preset) -> Bool { true }
    open private(set) var inputs: [AVCaptureInput] = [], outputs: [AVCaptureOutput] = []
    open func canAddInput(_ input: AVCaptureInput) -> Bool { inputs.isEmpty }
    open func addInput(_ input: AVCaptureInput) { inputs.append(input) }
    open func removeInput(_ input: AVCaptureInput) { inputs.removeAll { $0 === input } }
    open func canAddOutput(_ output: AVCaptureOutput) -> Bool { outputs.isEmpty }
    open func addOutput(_ output: AVCaptureOutput) { outputs.append(output) }
    open func beginConfiguration() {}
    open func commitConfiguration() {}
    open private(set) var isRunning = false
    // Both block for a moment, says Apple's page: not on the main queue, which is what the main actor runs on.
    open func startRunning() {
        dispatchPrecondition(condition: .notOnQueue(.main))
        isRunning = true
    }
    open func stopRunning() {
        dispatchPrecondition(condition: .notOnQueue(.main))
        isRunning = false
    }
}
@available(*, unavailable) extension AVCaptureSession: Sendable {}

open class AVCaptureVideoPreviewLayer: CALayer {
    open var session: AVCaptureSession?
    open var connection: AVCaptureConnection? { nil }
    open var videoGravity = AVLayerVideoGravity.resizeAspect
}
