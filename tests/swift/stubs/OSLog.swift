// Source: developer.apple.com/documentation/os (logger, oslogmessage, oslogprivacy).
@_exported import AppleFoundation

public struct OSLogPrivacy: Sendable { public static let `public` = Self(), `private` = Self(), auto = Self() }
public struct OSLogInterpolation: StringInterpolationProtocol {
    var text = ""
    public init(literalCapacity: Int, interpolationCount: Int) {}
    public mutating func appendLiteral(_ literal: String) { text += literal }
    public mutating func appendInterpolation(
        _ argumentString: @autoclosure @escaping () -> String, privacy: OSLogPrivacy = .auto
    ) { text += argumentString() }
}
public struct OSLogMessage: ExpressibleByStringInterpolation {
    let text: String
    public init(stringInterpolation: OSLogInterpolation) { text = stringInterpolation.text }
    public init(stringLiteral value: String) { text = value }
}
public struct Logger: @unchecked Sendable {
    nonisolated(unsafe) public static var errors: [String] = []  // for the tests on Linux
    public init(subsystem: String, category: String) {}
    public func error(_ message: OSLogMessage) { Self.errors.append(message.text) }
}
