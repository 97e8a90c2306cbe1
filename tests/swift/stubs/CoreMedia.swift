// Source: developer.apple.com/documentation/coremedia (cmsamplebuffer, cmsamplebuffergetimagebuffer(_:)).
@_exported import CoreVideo

public class CMSampleBuffer {
    let buffer: CVImageBuffer?
    public init(buffer: CVImageBuffer?) { self.buffer = buffer }  // for the tests on Linux
}
@available(*, unavailable) extension CMSampleBuffer: Sendable {}
public func CMSampleBufferGetImageBuffer(_ sbuf: CMSampleBuffer) -> CVImageBuffer? { sbuf.buffer }
