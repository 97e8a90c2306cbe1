import AVFoundation
import SwiftUI
import Vision

/// How a picture of another shape is brought to the size that the network takes.
///
/// Vision has two more ways, which also turn the picture by 90°. A network that learnt things upright has no use
/// for them.
enum Crop: CaseIterable, Identifiable, Sendable {
    case centreCrop, letterbox, squash

    var id: Self { self }

    /// What Vision is told to do.
    var option: VNImageCropAndScaleOption {
        switch self {
        case .centreCrop: return .centerCrop
        case .letterbox: return .scaleFit
        case .squash: return .scaleFill
        }
    }

    /// The same for the camera's picture on the screen, so that you see what the network gets.
    var gravity: AVLayerVideoGravity {
        switch self {
        case .centreCrop: return .resizeAspectFill
        case .letterbox: return .resizeAspect
        case .squash: return .resize
        }
    }

    var name: LocalizedStringKey {
        switch self {
        case .centreCrop: return "Centre crop"
        case .letterbox: return "Letterbox"
        case .squash: return "Squash"
        }
    }

    /// Vision leaves the rest of a letterbox transparent, and the network's input has no place for that: it is black.
    var explanation: LocalizedStringKey {
        switch self {
        case .centreCrop: return "The middle of the picture; what lies outside is cut off."
        case .letterbox: return "The whole picture; what it leaves free is black."
        case .squash: return "The whole picture, squeezed into shape."
        }
    }
}
