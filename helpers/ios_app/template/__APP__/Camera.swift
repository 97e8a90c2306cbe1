import AVFoundation
import Combine

/// The camera as the screen sees it: whether it may run, whether it does, and which one it is.
@MainActor
final class Camera: ObservableObject {
    enum State {
        case waiting, running, forbidden, missing, interrupted
    }

    @Published private(set) var state = State.waiting
    @Published private(set) var position = AVCaptureDevice.Position.back
    /// Is given a few frames a second.
    var onFrame: ((Picture) -> Void)?

    let capture: CaptureSession
    private let rest: @Sendable () async -> Void
    private var isWanted = false

    /// - Parameter rest: what is waited for before the camera is started again after an error.
    init(
        capture: CaptureSession = CaptureSession(),
        rest: @escaping @Sendable () async -> Void = { try? await Task.sleep(for: .seconds(1)) }
    ) {
        self.capture = capture
        self.rest = rest
        let frames = capture.frames
        Task { [weak self] in
            for await frame in frames { self?.onFrame?(frame) }
        }
        listen()
    }

    func start() {
        isWanted = true
        guard CaptureSession.device(position) != nil else {
            state = .missing
            return
        }
        Task {
            // The user is asked once; later the system answers at once.
            guard await AVCaptureDevice.requestAccess(for: .video) else {
                state = .forbidden
                return
            }
            await run()
        }
    }

    func stop() {
        isWanted = false
        capture.stop()
        if state == .running || state == .interrupted { state = .waiting }
    }

    /// From the back to the front, or back again. The front camera's frames are not mirrored; its preview is.
    func flip() {
        position = other
        start()
    }

    var canFlip: Bool { CaptureSession.device(other) != nil }

    private var other: AVCaptureDevice.Position { position == .back ? .front : .back }

    private func run() async {
        guard isWanted else { return }
        let runs = await capture.start(position)
        if isWanted { state = runs ? .running : .missing }
    }

    /// Another app takes the camera, two apps share an iPad's screen, or the session fails: the system says so.
    private func listen() {
        let names = [
            AVCaptureSession.wasInterruptedNotification, AVCaptureSession.interruptionEndedNotification,
            AVCaptureSession.runtimeErrorNotification,
        ]
        for name in names {
            // Kept for as long as the app runs, as its one camera is.
            _ = NotificationCenter.default.addObserver(forName: name, object: capture.session, queue: nil) {
                [weak self] _ in
                Task { @MainActor in await self?.hear(name) }
            }
        }
    }

    private func hear(_ name: Notification.Name) async {
        guard isWanted else { return }
        if name != AVCaptureSession.interruptionEndedNotification { state = .interrupted }
        if name == AVCaptureSession.runtimeErrorNotification { await rest() }
        if name != AVCaptureSession.wasInterruptedNotification { await run() }
    }
}
