// Source: developer.apple.com/documentation/corevideo (cvbuffer, cvpixelbuffer). Not Sendable.
@_exported import CoreGraphics

public class CVBuffer {
    public init() {}  // for the tests on Linux
}
@available(*, unavailable) extension CVBuffer: Sendable {}
public typealias CVImageBuffer = CVBuffer
public typealias CVPixelBuffer = CVImageBuffer
