// Source: developer.apple.com/documentation/coregraphics (cgimage, cgcontext, cgcolorspace, cgimagealphainfo).
// Whether an SDK calls CGImage Sendable depends on its year; here it is not, which is the stricter reading.
@_exported import AppleFoundation

public class CGImage {
    public let width: Int, height: Int
    public init(width: Int, height: Int) { (self.width, self.height) = (width, height) }  // for the tests on Linux
    public func cropping(to rect: CGRect) -> CGImage? { CGImage(width: Int(rect.width), height: Int(rect.height)) }
}
@available(*, unavailable) extension CGImage: Sendable {}

public class CGColorSpace {}
public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { CGColorSpace() }
public enum CGImageAlphaInfo: UInt32, Sendable { case none = 0, premultipliedLast, premultipliedFirst }

public class CGContext {
    let width: Int, height: Int
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) { (self.width, self.height) = (width, height) }
    public func setFillColor(gray: CGFloat, alpha: CGFloat) {}
    public func fill(_ rect: CGRect) {}
    public func makeImage() -> CGImage? { CGImage(width: width, height: height) }
}
