import ImageIO
import Vision

/// A picture, and how it has to be turned to stand upright.
///
/// `@unchecked Sendable`, because nobody writes into the pixels once a picture is made.
enum Picture: @unchecked Sendable {
    case frame(CVPixelBuffer, CGImagePropertyOrientation)
    case photo(CGImage, CGImagePropertyOrientation = .up)

    /// What Vision reads the picture with.
    var handler: VNImageRequestHandler {
        switch self {
        case let .frame(buffer, orientation):
            return VNImageRequestHandler(cvPixelBuffer: buffer, orientation: orientation, options: [:])
        case let .photo(image, orientation):
            return VNImageRequestHandler(cgImage: image, orientation: orientation, options: [:])
        }
    }

    /// What the screen shows of a photo. The camera's frames are shown by `CameraPreview`.
    var image: CGImage? {
        if case let .photo(image, _) = self { return image }
        return nil
    }
}

extension CGImagePropertyOrientation {
    /// For a camera frame that has to be turned clockwise by this many degrees to be upright.
    init(clockwise degrees: CGFloat) {
        switch degrees {
        case 90: self = .right
        case 180: self = .down
        case 270: self = .left
        default: self = .up
        }
    }
}
