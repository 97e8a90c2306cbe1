// The part of SwiftUI that the app uses. Source: developer.apple.com/documentation/swiftui, the page of each name;
// isolation (`@MainActor` on View, App, Scene; `nonisolated` modifiers) as on those pages since Xcode 16.
@_exported import Combine
@_exported import UIKit

// MARK: Views, scenes and their builders

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }

/// A view that is drawn by the system: it has no body of its own.
@MainActor @preconcurrency public protocol Primitive: View where Body == Never {}
extension Primitive { public var body: Never { fatalError() } }

@resultBuilder public enum ViewBuilder {
    public static func buildExpression<Content: View>(_ content: Content) -> Content { content }
    public static func buildBlock() -> EmptyView { EmptyView() }
    public static func buildBlock<Content: View>(_ content: Content) -> Content { content }
    public static func buildBlock<each Content: View>(
        _ content: repeat each Content
    ) -> TupleView<(repeat each Content)> { TupleView() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
    public static func buildEither<T: View, F: View>(first: T) -> _ConditionalContent<T, F> { .init() }
    public static func buildEither<T: View, F: View>(second: F) -> _ConditionalContent<T, F> { .init() }
}
extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }
extension Optional: Primitive where Wrapped: View {}
public struct TupleView<T>: Primitive { nonisolated init() {} }
public struct _ConditionalContent<T, F> { nonisolated init() {} }
extension _ConditionalContent: View where T: View, F: View { public var body: Never { fatalError() } }
public struct EmptyView: Primitive { nonisolated public init() {} }
public struct ModifiedContent<Content, Modifier> { nonisolated init() {} }
extension ModifiedContent: View where Content: View { public var body: Never { fatalError() } }
public struct AccessibilityAttachmentModifier {}
public struct _Modified: Primitive { nonisolated init() {} }

@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Body { get }
    @MainActor @preconcurrency init()
}
extension App { @MainActor @preconcurrency public static func main() { _ = Self.init().body } }
@MainActor @preconcurrency public protocol Scene {}
@resultBuilder public enum SceneBuilder {
    public static func buildExpression<Content: Scene>(_ content: Content) -> Content { content }
    public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}
public struct WindowGroup<Content: View>: Scene { nonisolated public init(@ViewBuilder content: () -> Content) {} }

// MARK: State

@propertyWrapper @dynamicMemberLookup public struct Binding<Value> {
    public init(get: @escaping () -> Value, set: @escaping (Value) -> Void) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Binding<Value> { self }
    public subscript<S>(dynamicMember keyPath: WritableKeyPath<Value, S>) -> Binding<S> { fatalError() }
}
@propertyWrapper public struct State<Value> {
    private let value: Value
    public init(wrappedValue value: Value) { self.value = value }
    public var wrappedValue: Value { get { value } nonmutating set {} }
    public var projectedValue: Binding<Value> { fatalError() }
}
extension State where Value: ExpressibleByNilLiteral { public init() { value = nil } }
@MainActor @preconcurrency @propertyWrapper public struct ObservedObject<ObjectType: ObservableObject> {
    @dynamicMemberLookup @MainActor @preconcurrency public struct Wrapper {
        public subscript<S>(dynamicMember keyPath: ReferenceWritableKeyPath<ObjectType, S>) -> Binding<S> { fatalError() }
    }
    public init(wrappedValue: ObjectType) { self.wrappedValue = wrappedValue }
    public var wrappedValue: ObjectType
    public var projectedValue: Wrapper { Wrapper() }
}
@MainActor @preconcurrency @propertyWrapper public struct StateObject<ObjectType: ObservableObject> {
    nonisolated public init(wrappedValue thunk: @autoclosure @escaping () -> ObjectType) {}
    public var wrappedValue: ObjectType { fatalError() }
    public var projectedValue: ObservedObject<ObjectType>.Wrapper { fatalError() }
}
@propertyWrapper public struct Environment<Value> {
    public init(_ keyPath: KeyPath<EnvironmentValues, Value>) {}
    public var wrappedValue: Value { fatalError() }
}
public enum UserInterfaceSizeClass: Sendable { case compact, regular }
public enum DynamicTypeSize: Hashable, Comparable, CaseIterable, Sendable {
    case xSmall, small, medium, large, xLarge, xxLarge, xxxLarge
    case accessibility1, accessibility2, accessibility3, accessibility4, accessibility5
    public var isAccessibilitySize: Bool { self >= .accessibility1 }
}
public struct EnvironmentValues {
    public var verticalSizeClass: UserInterfaceSizeClass? { get { nil } set {} }
    public var dynamicTypeSize: DynamicTypeSize { get { .large } set {} }
    public var openURL: OpenURLAction { get { OpenURLAction() } set {} }
}
@MainActor @preconcurrency public struct OpenURLAction: Sendable {
    nonisolated init() {}
    public func callAsFunction(_ url: URL) {}
}

// MARK: Texts and pictures

public struct LocalizedStringKey: Equatable, ExpressibleByStringInterpolation, Sendable {
    public let key: String
    public init(_ value: String) { key = value }
    public init(stringLiteral value: String) { key = value }
}
public struct Text: Primitive, Equatable, Sendable {
    nonisolated public init(verbatim content: String) {}
    nonisolated public init(
        _ key: LocalizedStringKey, tableName: String? = nil, bundle: Bundle? = nil, comment: StaticString? = nil
    ) {}
    @_disfavoredOverload nonisolated public init<S: StringProtocol>(_ content: S) {}
    nonisolated public init<F: FormatStyle>(_ input: F.FormatInput, format: F)
    where F.FormatInput: Equatable, F.FormatOutput == String {}
    nonisolated public func font(_ font: Font?) -> Text { self }
    nonisolated public func monospacedDigit() -> Text { self }
    nonisolated public func foregroundStyle<S: ShapeStyle>(_ style: S) -> Text { self }
}
public struct Font: Hashable, Sendable {
    public static let largeTitle = Font(), body = Font(), footnote = Font()
    public func bold() -> Font { self }
}
public struct EdgeInsets: Equatable, Sendable { public init() {} }
public struct Image: Primitive, Equatable, Sendable {
    public enum ResizingMode: Sendable { case tile, stretch }
    public enum Orientation: UInt8, Sendable {
        case up = 0, upMirrored, down, downMirrored, left, leftMirrored, right, rightMirrored
    }
    nonisolated public init(systemName: String) {}
    nonisolated public init(_ cgImage: CGImage, scale: CGFloat, orientation: Image.Orientation = .up, label: Text) {}
    nonisolated public func resizable(
        capInsets: EdgeInsets = EdgeInsets(), resizingMode: Image.ResizingMode = .stretch
    ) -> Image { self }
}

// MARK: Styles, shapes and layout

public protocol ShapeStyle: Sendable {}
public struct Color: ShapeStyle, Primitive, Hashable, Sendable {
    public static let black = Color(), white = Color(), secondary = Color()
}
extension ShapeStyle where Self == Color {
    public static var black: Color { Color.black }
    public static var white: Color { Color.white }
}
public struct HierarchicalShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == HierarchicalShapeStyle {
    public static var secondary: HierarchicalShapeStyle { HierarchicalShapeStyle() }
}
public struct Material: ShapeStyle {}
extension ShapeStyle where Self == Material { public static var regularMaterial: Material { Material() } }
public protocol Shape: View, Sendable {}
public enum RoundedCornerStyle: Sendable { case circular, continuous }
public struct FillStyle: Sendable { public init() {} }
public struct RoundedRectangle: Shape, Primitive {
    nonisolated public init(cornerRadius: CGFloat, style: RoundedCornerStyle = .continuous) {}
}
public enum ContentMode: Hashable, Sendable { case fit, fill }
public enum TextAlignment: Hashable, Sendable { case leading, center, trailing }
public struct Edge { public struct Set: OptionSet, Sendable {
    public let rawValue: Int8
    public init(rawValue: Int8) { self.rawValue = rawValue }
    public static let all = Set(rawValue: 15)
} }
public struct HorizontalAlignment: Equatable, Sendable {
    public static let leading = Self(), center = Self(), trailing = Self()
}
public struct VerticalAlignment: Equatable, Sendable { public static let top = Self(), center = Self() }
public struct Alignment: Equatable, Sendable { public static let center = Self(), leading = Self() }
public struct AccessibilityTraits: OptionSet, Sendable { // on Apple's systems a SetAlgebra
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let isHeader = Self(rawValue: 1), updatesFrequently = Self(rawValue: 2)
}
public struct AccessibilityChildBehavior: Hashable, Sendable {
    public static let ignore = Self(), contain = Self(), combine = Self()
}

public struct VStack<Content: View>: Primitive {
    nonisolated public init(
        alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content
    ) {}
}
public struct ScrollView<Content: View>: Primitive { nonisolated public init(@ViewBuilder content: () -> Content) {} }
public struct Spacer: Primitive { nonisolated public init(minLength: CGFloat? = nil) {} }
public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content> {}
extension ForEach: View where Content: View { public var body: Never { fatalError() } }
extension ForEach where Content: View, Data.Element: Identifiable, ID == Data.Element.ID {
    nonisolated public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
}
public protocol Layout: Sendable {}
extension Layout {
    public func callAsFunction<V: View>(@ViewBuilder _ content: () -> V) -> some View { _Modified() }
}
public struct HStackLayout: Layout { public init(alignment: VerticalAlignment = .center, spacing: CGFloat? = nil) {} }
public struct VStackLayout: Layout { public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil) {} }
public struct AnyLayout: Layout { public init<L: Layout>(_ layout: L) {} }
public struct NavigationPath {}
@MainActor @preconcurrency public struct NavigationStack<Data, Root: View>: Primitive {
    nonisolated public init(@ViewBuilder root: () -> Root) where Data == NavigationPath {}
}

// MARK: Controls and toolbars

@MainActor @preconcurrency public struct Button<Label: View>: Primitive {
    nonisolated public init(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Label) {}
}
extension Button where Label == Text {
    nonisolated public init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
}
public struct Label<Title: View, Icon: View>: Primitive {}
extension Label where Title == Text, Icon == Image {
    nonisolated public init(_ titleKey: LocalizedStringKey, systemImage name: String) {}
}
public struct Picker<Label: View, SelectionValue: Hashable, Content: View>: Primitive {}
extension Picker where Label == Text {
    nonisolated public init(
        _ titleKey: LocalizedStringKey, selection: Binding<SelectionValue>, @ViewBuilder content: () -> Content
    ) {}
}
public struct ProgressView<Label: View, CurrentValueLabel: View>: Primitive {}
extension ProgressView where CurrentValueLabel == EmptyView, Label == EmptyView {
    nonisolated public init() {}
    nonisolated public init<V: BinaryFloatingPoint>(value: V?, total: V = 1.0) {}
}
public protocol PrimitiveButtonStyle {}
public struct BorderedButtonStyle: PrimitiveButtonStyle {}
extension PrimitiveButtonStyle where Self == BorderedButtonStyle { public static var bordered: Self { Self() } }
public protocol PickerStyle {}
public struct SegmentedPickerStyle: PickerStyle {}
public struct MenuPickerStyle: PickerStyle {}
extension PickerStyle where Self == SegmentedPickerStyle { public static var segmented: Self { Self() } }
extension PickerStyle where Self == MenuPickerStyle { public static var menu: Self { Self() } }

@MainActor @preconcurrency public protocol ToolbarContent {}
@resultBuilder public enum ToolbarContentBuilder {
    public static func buildExpression<Content: ToolbarContent>(_ content: Content) -> Content { content }
    public static func buildBlock<each C: ToolbarContent>(_ content: repeat each C) -> some ToolbarContent { _Items() }
}
struct _Items: ToolbarContent { nonisolated init() {} }
public struct ToolbarItemPlacement: Sendable { public static let topBarLeading = Self(), topBarTrailing = Self() }
public struct ToolbarItem<ID, Content: View>: ToolbarContent {
    nonisolated public init(placement: ToolbarItemPlacement, @ViewBuilder content: () -> Content) where ID == () {}
}
public struct NavigationBarItem { public enum TitleDisplayMode: Sendable { case automatic, inline, large } }

// MARK: Modifiers

extension View {
    nonisolated public func font(_ font: Font?) -> some View { _Modified() }
    nonisolated public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { _Modified() }
    nonisolated public func background<S: ShapeStyle>(_ style: S) -> some View { _Modified() }
    nonisolated public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View { _Modified() }
    nonisolated public func frame(
        minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil, minHeight: CGFloat? = nil,
        idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center
    ) -> some View { _Modified() }
    nonisolated public func aspectRatio(_ aspectRatio: CGFloat? = nil, contentMode: ContentMode) -> some View { _Modified() }
    nonisolated public func scaledToFit() -> some View { _Modified() }
    nonisolated public func scaledToFill() -> some View { _Modified() }
    nonisolated public func overlay<V: View>(
        alignment: Alignment = .center, @ViewBuilder content: () -> V
    ) -> some View { _Modified() }
    nonisolated public func clipShape<S: Shape>(_ shape: S, style: FillStyle = FillStyle()) -> some View { _Modified() }
    nonisolated public func multilineTextAlignment(_ alignment: TextAlignment) -> some View { _Modified() }
    nonisolated public func disabled(_ disabled: Bool) -> some View { _Modified() }
    nonisolated public func labelsHidden() -> some View { _Modified() }
    nonisolated public func tag<V: Hashable>(_ tag: V, includeOptional: Bool = true) -> some View { _Modified() }
    nonisolated public func pickerStyle<S: PickerStyle>(_ style: S) -> some View { _Modified() }
    nonisolated public func buttonStyle<S: PrimitiveButtonStyle>(_ style: S) -> some View { _Modified() }
    nonisolated public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { _Modified() }
    nonisolated public func navigationBarTitleDisplayMode(
        _ displayMode: NavigationBarItem.TitleDisplayMode
    ) -> some View { _Modified() }
    nonisolated public func toolbar<C: ToolbarContent>(@ToolbarContentBuilder content: () -> C) -> some View { _Modified() }
    nonisolated public func environment<V>(
        _ keyPath: WritableKeyPath<EnvironmentValues, V>, _ value: V
    ) -> some View { _Modified() }
    nonisolated public func onAppear(perform action: (() -> Void)? = nil) -> some View { _Modified() }
    nonisolated public func onChange<V: Equatable>(
        of value: V, initial: Bool = false, _ action: @escaping (_ oldValue: V, _ newValue: V) -> Void
    ) -> some View { _Modified() }
    @available(*, deprecated, message: "Use `onChange` with a two or zero parameter action closure instead.")
    nonisolated public func onChange<V: Equatable>(
        of value: V, perform action: @escaping (_ newValue: V) -> Void
    ) -> some View { _Modified() }
    nonisolated public func alert<A: View>(
        _ titleKey: LocalizedStringKey, isPresented: Binding<Bool>, @ViewBuilder actions: () -> A
    ) -> some View { _Modified() }
    nonisolated public func accessibilityElement(children: AccessibilityChildBehavior = .ignore) -> some View { _Modified() }
    nonisolated public func accessibilityHidden(
        _ hidden: Bool
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> { .init() }
    nonisolated public func accessibilityAddTraits(
        _ traits: AccessibilityTraits
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> { .init() }
    nonisolated public func accessibilityLabel(
        _ labelKey: LocalizedStringKey
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> { .init() }
}

// MARK: UIKit inside

@MainActor @preconcurrency public struct UIViewRepresentableContext<Representable: UIViewRepresentable> {}
@MainActor @preconcurrency public protocol UIViewRepresentable: View where Body == Never {
    associatedtype UIViewType: UIView
    @MainActor @preconcurrency func makeUIView(context: Context) -> UIViewType
    @MainActor @preconcurrency func updateUIView(_ uiView: UIViewType, context: Context)
    typealias Context = UIViewRepresentableContext<Self>
}
extension UIViewRepresentable { public var body: Never { fatalError() } }
