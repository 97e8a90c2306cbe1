import AVFoundation
import SwiftUI
import Vision

/// How a picture of another shape is brought to the size that the network takes.
enum Crop: CaseIterable, Identifiable {
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

    var explanation: LocalizedStringKey {
        switch self {
        case .centreCrop: return "The middle of the picture; what lies outside is cut off."
        case .letterbox: return "The whole picture, with bars beside it."
        case .squash: return "The whole picture, squeezed into shape."
        }
    }
}
