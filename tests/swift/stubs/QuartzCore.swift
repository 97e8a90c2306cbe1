// Source: developer.apple.com/documentation/quartzcore/calayer.
@_exported import CoreGraphics

open class CALayer: NSObject {
    public override init() {}
}
@available(*, unavailable) extension CALayer: Sendable {}
