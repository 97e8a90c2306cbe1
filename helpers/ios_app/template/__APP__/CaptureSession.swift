import AVFoundation

/// The part of the camera that works off the main thread.
///
/// `@unchecked Sendable`, because the session and its input belong to `queue`, orientation and time to `turns`.
final class CaptureSession: NSObject, @unchecked Sendable {
    let session = AVCaptureSession()
    /// A few frames a second; one that nobody has taken gives way to the next.
    let frames: AsyncStream<Picture>

    private let queue = DispatchQueue(label: "session")
    private let turns = DispatchQueue(label: "frames", qos: .userInitiated)
    private let output = AVCaptureVideoDataOutput()
    private let deliver: AsyncStream<Picture>.Continuation
    private var input: AVCaptureDeviceInput?
    private var orientation = CGImagePropertyOrientation.right
    private var lastFrame: ContinuousClock.Instant?
    private let pause: Duration

    /// - Parameter pause: how long after one frame the next is taken.
    init(pause: Duration = .milliseconds(200)) {
        self.pause = pause
        (frames, deliver) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    deinit { deliver.finish() }

    static func device(_ position: AVCaptureDevice.Position) -> AVCaptureDevice? {
        AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: position)
    }

    /// Says whether this camera can be used.
    func start(_ position: AVCaptureDevice.Position) async -> Bool {
        await withCheckedContinuation { answer in
            queue.async {
                let ready = self.input?.device.position == position || self.configure(position)
                if ready && !self.session.isRunning { self.session.startRunning() }
                answer.resume(returning: ready)
            }
        }
    }

    func stop() {
        queue.async { self.session.stopRunning() }
    }

    /// The frames have to be turned clockwise by this many degrees to be upright.
    func turn(clockwise degrees: CGFloat) {
        turns.async { self.orientation = CGImagePropertyOrientation(clockwise: degrees) }
    }

    private func configure(_ position: AVCaptureDevice.Position) -> Bool {
        guard let device = Self.device(position), let new = try? AVCaptureDeviceInput(device: device)
        else { return false }
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        if let input { session.removeInput(input) }
        input = nil
        guard session.canAddInput(new) else { return false }
        session.addInput(new)
        if session.outputs.isEmpty {
            guard session.canAddOutput(output) else { return false }
            session.addOutput(output)
            output.alwaysDiscardsLateVideoFrames = true
            output.setSampleBufferDelegate(self, queue: turns)
        }
        if session.canSetSessionPreset(.vga640x480) { session.sessionPreset = .vga640x480 }
        // Frames stay as the sensor reads them; Vision is told how to turn them.
        if let connection = output.connection(with: .video), connection.isVideoRotationAngleSupported(0) {
            connection.videoRotationAngle = 0
        }
        input = new
        return true
    }
}

extension CaptureSession: AVCaptureVideoDataOutputSampleBufferDelegate {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        let now = ContinuousClock.now
        if let lastFrame, now - lastFrame < pause { return }
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer) else { return }
        lastFrame = now
        deliver.yield(.frame(buffer, orientation))
    }
}
