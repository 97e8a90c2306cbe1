// Source: developer.apple.com/documentation/uikit (uiview, uiapplication).
@_exported import ImageIO
@_exported import QuartzCore

/// On Apple's systems an NSObject, whose `init` Objective-C lets a main-actor class override.
@MainActor open class UIResponder {
    public init() {}
}
@MainActor open class UIView: UIResponder {
    open class var layerClass: AnyClass { CALayer.self }
    open var layer: CALayer { fatalError("stub") }
    public init(frame: CGRect) { super.init() }
    public override convenience init() { self.init(frame: .zero) }
    public required init?(coder: NSCoder) { fatalError("stub") }
}
@MainActor open class UIApplication: UIResponder {
    public static let openSettingsURLString = "app-settings:"
}
