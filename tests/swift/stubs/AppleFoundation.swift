// What Apple's Foundation has and the one on Linux lacks, or spells otherwise. The app's `import Foundation` is read as
// an import of this module, and every other stub re-exports it.
// Source of each signature: its page below developer.apple.com/documentation/foundation, unless noted.
@_exported import Dispatch
@_exported import Foundation

// Toll-free bridged on Apple's systems, so that `data as CFData` is legal there (CoreFoundation).
public typealias CFURL = URL
public typealias CFData = Data
public typealias CFString = String
public typealias CFDictionary = [String: Any]

extension String {
    public struct LocalizationValue: ExpressibleByStringInterpolation, Equatable, Sendable {
        let key: String
        public init(stringLiteral value: String) { key = value }
    }

    // string/init(localized:table:bundle:locale:comment:)
    public init(
        localized keyAndValue: String.LocalizationValue, table: String? = nil, bundle: Bundle? = nil,
        locale: Locale = .current, comment: StaticString? = nil
    ) { self = keyAndValue.key }
}

/// On Linux `urls(…)` gives NSURLs. What is found and translated is set by the tests.
open class Bundle: NSObject, @unchecked Sendable {
    nonisolated(unsafe) public static var found: [URL]?
    nonisolated(unsafe) public static var strings: [String: String] = [:]
    open class var main: Bundle { Bundle() }
    public override init() {}
    public init(for aClass: AnyClass) {}
    open var bundleIdentifier: String? { nil }
    open func url(forResource name: String?, withExtension ext: String?) -> URL? { nil }
    open func urls(forResourcesWithExtension ext: String?, subdirectory subpath: String?) -> [URL]? {
        ext == "mlmodelc" ? Self.found : nil
    }
    open func localizedString(forKey key: String, value: String?, table tableName: String?) -> String {
        tableName == "Labels" ? Self.strings[key] ?? value ?? key : key
    }
}

// nskeyvalueobservingoptions, nskeyvalueobservation, and nsobject's observe(_:options:changeHandler:) of the overlay.
public struct NSKeyValueObservingOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let new = Self(rawValue: 1), old = Self(rawValue: 2), initial = Self(rawValue: 4)
}
public struct NSKeyValueObservedChange<Value> { public let newValue: Value?, oldValue: Value? }
public class NSKeyValueObservation: NSObject { public func invalidate() {} }
public protocol _KeyValueCodingAndObserving {}
extension NSObject: _KeyValueCodingAndObserving {}
extension _KeyValueCodingAndObserving {
    @preconcurrency public func observe<Value>(
        _ keyPath: KeyPath<Self, Value>, options: NSKeyValueObservingOptions = [],
        changeHandler: @escaping @Sendable (Self, NSKeyValueObservedChange<Value>) -> Void
    ) -> NSKeyValueObservation { NSKeyValueObservation() }
}
