// Source: developer.apple.com/documentation/imageio (cgimagesource, its thumbnail options, cgimagepropertyorientation).
@_exported import CoreGraphics

@frozen public enum CGImagePropertyOrientation: UInt32, Sendable {
    case up = 1, upMirrored, down, downMirrored, leftMirrored, right, rightMirrored, left
}

public let kCGImageSourceCreateThumbnailFromImageAlways: CFString = "kCGImageSourceCreateThumbnailFromImageAlways"
public let kCGImageSourceCreateThumbnailWithTransform: CFString = "kCGImageSourceCreateThumbnailWithTransform"
public let kCGImageSourceThumbnailMaxPixelSize: CFString = "kCGImageSourceThumbnailMaxPixelSize"

public class CGImageSource {
    /// For the tests on Linux: what was asked, and how large a photo of two bytes (width, height, each times 16) is.
    nonisolated(unsafe) public static var asked: [CFDictionary] = []
    let data: Data
    init(_ data: Data) { self.data = data }
}
public func CGImageSourceCreateWithURL(_ url: CFURL, _ options: CFDictionary?) -> CGImageSource? { nil }
public func CGImageSourceCreateWithData(_ data: CFData, _ options: CFDictionary?) -> CGImageSource? {
    CGImageSource(data)
}
public func CGImageSourceCreateImageAtIndex(
    _ isrc: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? { nil }
public func CGImageSourceCreateThumbnailAtIndex(
    _ isrc: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? {
    CGImageSource.asked.append(options ?? [:])
    guard isrc.data.count == 2 else { return nil }
    return CGImage(width: Int(isrc.data[0]) * 16, height: Int(isrc.data[1]) * 16)
}
