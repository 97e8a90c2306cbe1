import CoreGraphics
import Foundation

/// Always gives the same answers, at once: for Xcode's previews, which have no model and no camera.
struct CannedNetwork: Network {
    var threshold = 0.6
    let shape: CGFloat = 1

    func reply(to picture: Picture, crop: Crop) -> Reply {
        let answers = [("cat", 0.81), ("dog", 0.15), ("frog", 0.04)]
        return Reply(answers: answers.map { Answer(label: $0.0, probability: $0.1) }, milliseconds: 1.5)
    }
}

extension Recognition {
    /// - Parameter photo: is looked at at once; a grey one unless you say otherwise.
    static func canned(threshold: Double = 0.6, photo: Picture? = .grey) -> Recognition {
        let models = ["AlexNet", "AlexNetCamera"].map {
            BundledModel(file: URL(fileURLWithPath: "/\($0).mlmodelc"))
        }
        let recognition = Recognition(models: models) { _, _ in CannedNetwork(threshold: threshold) }
        if let photo { recognition.show(photo) }
        return recognition
    }
}

extension Picture {
    /// 64×48 pixels of one grey.
    static var grey: Picture? {
        let context = CGContext(
            data: nil, width: 64, height: 48, bitsPerComponent: 8, bytesPerRow: 0,
            space: CGColorSpaceCreateDeviceGray(), bitmapInfo: CGImageAlphaInfo.none.rawValue
        )
        context?.setFillColor(gray: 0.6, alpha: 1)
        context?.fill(CGRect(x: 0, y: 0, width: 64, height: 48))
        return context?.makeImage().map { .photo($0) }
    }
}
