import AVFoundation
import SwiftUI

/// Shows what the camera sees, fitted as the network gets it.
struct CameraPreview: UIViewRepresentable {
    @ObservedObject var camera: Camera
    let crop: Crop

    func makeUIView(context: Context) -> PreviewView {
        let view = PreviewView()
        view.previewLayer.session = camera.capture.session
        return view
    }

    func updateUIView(_ view: PreviewView, context: Context) {
        view.previewLayer.videoGravity = crop.gravity
        if camera.state == .running {
            view.follow(camera)
        }
    }
}

/// A view whose layer is the camera's picture. It keeps the picture, and the frames, upright.
final class PreviewView: UIView {
    override class var layerClass: AnyClass { AVCaptureVideoPreviewLayer.self }

    private var followed: AVCaptureDevice.Position?
    private var coordinator: AVCaptureDevice.RotationCoordinator?
    private var observations: [NSKeyValueObservation] = []

    var previewLayer: AVCaptureVideoPreviewLayer {
        guard let layer = layer as? AVCaptureVideoPreviewLayer else {
            fatalError("layerClass above says which layer it is")
        }
        return layer
    }

    /// Observes how the phone is held, from the moment this camera runs.
    func follow(_ camera: Camera) {
        let position = camera.position, capture = camera.capture
        guard followed != position, let device = CaptureSession.device(position) else { return }
        let rotation = AVCaptureDevice.RotationCoordinator(device: device, previewLayer: previewLayer)
        let preview = rotation.observe(
            \.videoRotationAngleForHorizonLevelPreview, options: [.initial, .new]
        ) { [weak self] rotation, _ in
            let angle = rotation.videoRotationAngleForHorizonLevelPreview
            Task { @MainActor in self?.turn(clockwise: angle) }
        }
        let frames = rotation.observe(
            \.videoRotationAngleForHorizonLevelCapture, options: [.initial, .new]
        ) { [weak capture] rotation, _ in
            capture?.turn(clockwise: rotation.videoRotationAngleForHorizonLevelCapture)
        }
        (followed, coordinator, observations) = (position, rotation, [preview, frames])
    }

    private func turn(clockwise degrees: CGFloat) {
        guard let connection = previewLayer.connection, connection.isVideoRotationAngleSupported(degrees)
        else { return }
        connection.videoRotationAngle = degrees
    }
}
