// What on Apple's systems is in PhotosUI, its SwiftUI overlay and CoreTransferable.
// Source: developer.apple.com/documentation/photosui/photospickeritem, …/photospicker, …/coretransferable.
@_exported import UIKit
import SwiftUI

public protocol Transferable {}
extension Data: Transferable {}

public struct PHPickerFilter: Equatable, Hashable, Sendable { public static let images = PHPickerFilter() }

public struct PhotosPickerItem: Equatable, Hashable, Sendable {
    public struct EncodingDisambiguationPolicy: Equatable, Hashable, Sendable { public static let automatic = Self() }

    @discardableResult @preconcurrency public func loadTransferable<T: Transferable>(
        type: T.Type, completionHandler: @escaping @Sendable (Result<T?, any Error>) -> Void
    ) -> Progress { fatalError("stub") }
}

@MainActor @preconcurrency public struct PhotosPicker<Label: View>: View {
    @preconcurrency nonisolated public init(
        selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil,
        preferredItemEncoding: PhotosPickerItem.EncodingDisambiguationPolicy = .automatic,
        @ViewBuilder label: @Sendable () -> Label
    ) {}
    public var body: Never { fatalError() }
}
