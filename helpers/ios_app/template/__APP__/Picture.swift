import ImageIO
import UIKit
import Vision

/// A picture, and how it has to be turned to stand upright.
enum Picture {
    case frame(CVPixelBuffer, CGImagePropertyOrientation)
    case photo(CGImage, CGImagePropertyOrientation)

    /// What Vision reads the picture with.
    var handler: VNImageRequestHandler {
        switch self {
        case let .frame(buffer, orientation):
            return VNImageRequestHandler(cvPixelBuffer: buffer, orientation: orientation, options: [:])
        case let .photo(image, orientation):
            return VNImageRequestHandler(cgImage: image, orientation: orientation, options: [:])
        }
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

    /// For a photo. The two types have the same cases, with different numbers.
    init(_ orientation: UIImage.Orientation) {
        switch orientation {
        case .up: self = .up
        case .upMirrored: self = .upMirrored
        case .down: self = .down
        case .downMirrored: self = .downMirrored
        case .left: self = .left
        case .leftMirrored: self = .leftMirrored
        case .right: self = .right
        case .rightMirrored: self = .rightMirrored
        @unknown default: self = .up
        }
    }
}
