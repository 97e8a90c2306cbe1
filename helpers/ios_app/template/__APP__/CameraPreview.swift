import AVFoundation
import SwiftUI

/// Shows what the camera sees, fitted as the network gets it.
struct CameraPreview: UIViewRepresentable {
    @ObservedObject var camera: Camera
    let crop: Crop

    func makeUIView(context: Context) -> PreviewView {
        let view = PreviewView()
        view.previewLayer.session = camera.session
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

    private var coordinator: AVCaptureDevice.RotationCoordinator?
    private var observations: [NSKeyValueObservation] = []

    var previewLayer: AVCaptureVideoPreviewLayer {
        guard let layer = layer as? AVCaptureVideoPreviewLayer else {
            fatalError("layerClass above says which layer it is")
        }
        return layer
    }

    /// Observes how the phone is held, from the moment the camera runs.
    func follow(_ camera: Camera) {
        guard coordinator == nil, let device = camera.device else { return }
        let layer = previewLayer
        let rotation = AVCaptureDevice.RotationCoordinator(device: device, previewLayer: layer)
        let preview = rotation.observe(
            \.videoRotationAngleForHorizonLevelPreview, options: [.initial, .new]
        ) { [weak layer] rotation, _ in
            let angle = rotation.videoRotationAngleForHorizonLevelPreview
            DispatchQueue.main.async {
                guard let connection = layer?.connection, connection.isVideoRotationAngleSupported(angle)
                else { return }
                connection.videoRotationAngle = angle
            }
        }
        let capture = rotation.observe(
            \.videoRotationAngleForHorizonLevelCapture, options: [.initial, .new]
        ) { [weak camera] rotation, _ in
            camera?.turn(clockwise: rotation.videoRotationAngleForHorizonLevelCapture)
        }
        coordinator = rotation
        observations = [preview, capture]
    }
}
