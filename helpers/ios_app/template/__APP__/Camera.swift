import AVFoundation
import Combine
import ImageIO

/// The camera on the back: asks for permission, runs, and hands over a few frames a second.
///
/// `state` changes on the main thread, the session works on `queue`, frames arrive on `frames`.
final class Camera: NSObject, ObservableObject {
    enum State {
        case waiting, running, forbidden, missing
    }

    @Published private(set) var state = State.waiting
    let session = AVCaptureSession()
    let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back)
    /// Is called on the main thread.
    var onFrame: ((Picture) -> Void)?

    private let queue = DispatchQueue(label: "session")
    private let frames = DispatchQueue(label: "frames", qos: .userInitiated)
    private let output = AVCaptureVideoDataOutput()
    // These three belong to the queue `frames`.
    private var orientation = CGImagePropertyOrientation.right
    private var lastFrame = Date.distantPast
    private let pause = 0.2

    func start() {
        guard device != nil else {
            state = .missing
            return
        }
        // The user is asked once; later the system answers at once.
        AVCaptureDevice.requestAccess(for: .video) { allowed in
            DispatchQueue.main.async {
                if allowed {
                    self.run()
                } else {
                    self.state = .forbidden
                }
            }
        }
    }

    func stop() {
        queue.async {
            self.session.stopRunning()
        }
    }

    /// The frames have to be turned clockwise by this many degrees to be upright.
    func turn(clockwise degrees: CGFloat) {
        frames.async {
            self.orientation = CGImagePropertyOrientation(clockwise: degrees)
        }
    }

    private func run() {
        queue.async {
            let ready = !self.session.inputs.isEmpty || self.configure()
            if ready {
                self.session.startRunning()
            }
            DispatchQueue.main.async {
                self.state = ready ? .running : .missing
            }
        }
    }

    private func configure() -> Bool {
        guard let device, let input = try? AVCaptureDeviceInput(device: device) else { return false }
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        guard session.canAddInput(input), session.canAddOutput(output) else { return false }
        session.addInput(input)
        session.addOutput(output)
        if session.canSetSessionPreset(.vga640x480) {
            session.sessionPreset = .vga640x480
        }
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: frames)
        // Frames stay as the sensor reads them; Vision is told how to turn them.
        if let connection = output.connection(with: .video), connection.isVideoRotationAngleSupported(0) {
            connection.videoRotationAngle = 0
        }
        return true
    }
}

extension Camera: AVCaptureVideoDataOutputSampleBufferDelegate {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard Date().timeIntervalSince(lastFrame) > pause,
              let buffer = CMSampleBufferGetImageBuffer(sampleBuffer)
        else { return }
        lastFrame = Date()
        let picture = Picture.frame(buffer, orientation)
        DispatchQueue.main.async {
            self.onFrame?(picture)
        }
    }
}
