"""Changes of the app for the worse, each of which the compiler or the checks of its logic have to notice."""

import re
from dataclasses import dataclass

from tests.swift.compiler import APP, Failed, Project

SWIFT_6 = ("-swift-version", "6")


@dataclass(frozen=True)
class Change:
    """In ``file``, ``old`` becomes ``new``. ``stage`` says who has to notice: "types", "races" or "logic".

    ``often`` says that it is tried with every ``make test``, not only by ``python -m tests.swift``.
    """

    stage: str
    file: str
    old: str
    new: str
    often: bool = False

    @property
    def name(self) -> str:
        word = re.sub(r"[^\w=]+", " ", self.new).strip() or re.sub(r"\W+", " ", f"without {self.old}").strip()
        return f"{self.stage}: {self.file.removesuffix('.swift')}: {word[:40]}"

    def noticed(self, compiler) -> str | None:
        """The first thing that was said about it, or None."""
        try:
            with Project(compiler, {self.file: (self.old, self.new)}) as project:
                self._try(project)
        except Failed as error:
            said = str(error).splitlines()
            return next((line for line in said if re.search("(error|warning): |^line ", line)), said[0])
        return None

    def _try(self, project: Project) -> None:
        if self.stage == "types":
            project.swiftc(*SWIFT_6, "-typecheck", "-module-name", APP, *project.sources(APP))
        elif self.stage == "races":
            project.compile(*SWIFT_6, "-Onone", "-enable-testing", tests="Tests" in self.file)
        else:
            project.logic()


def _types(*change: str, often: bool = False) -> Change:
    return Change("types", *change, often=often)


def _races(*change: str, often: bool = False) -> Change:
    return Change("races", *change, often=often)


def _logic(*change: str, often: bool = False) -> Change:
    return Change("logic", *change, often=often)


CHANGES = (
    _types("Classifier.swift", "CGFloat(size.pixelsWide) /", "size.pixelsWide /", often=True),
    _types("Classifier.swift", "import Vision\n", ""),
    _types("ContentView.swift", "import PhotosUI\n", "", often=True),
    _types("Recognition.swift", "import OSLog\n", ""),
    _types("Crop.swift", "return .centerCrop", "return .centreCrop"),
    _types("Crop.swift", '        case .squash: return "Squash"\n', ""),
    _types("Picture.swift", "cvPixelBuffer: buffer", "pixelBuffer: buffer"),
    _types(
        "CaptureSession.swift", "didOutput sampleBuffer", "didOutputSampleBuffer sampleBuffer", often=True
    ),
    _types("ContentView.swift", "{ _, item in", "{ item in"),
    _types("PictureView.swift", "@ViewBuilder private var picture", "private var picture"),
    _types("SettingsView.swift", "$recognition.crop", "recognition.crop"),
    _types("CameraPreview.swift", "override class var", "class var"),
    _types("AnswersView.swift", ".fractionLength(0)", ".fractionDigits(0)"),
    _types("AnswersView.swift", "        case .failed: return Text", "        case .broken: return Text"),
    _types("BundledModel.swift", "#if targetEnvironment(simulator)", "#if targetEnvironment(simulator"),
    _types(
        "CameraPreview.swift",
        "\\.videoRotationAngleForHorizonLevelCapture,",
        "\\.videoRotationAngleForCapture,",
    ),
    _types("Camera.swift", "guard await AVCaptureDevice", "guard AVCaptureDevice", often=True),
    _types(
        "App.swift", "@StateObject private var photos = PhotoLoader()", "@State private var photos = Photos()"
    ),
    _races("Recognition.swift", "@MainActor\nfinal class", "final class", often=True),
    _races("Picture.swift", "enum Picture: @unchecked Sendable", "enum Picture"),
    _races("PhotoLoader.swift", "await self.finish", "self.finish"),
    _races("PhotoLoader.swift", "nonisolated static func decode", "static func decode"),
    _races("Classifier.swift", "nonisolated let threshold", "nonisolated var threshold"),
    _races(
        "CaptureSession.swift",
        "final class CaptureSession: NSObject, @unchecked Sendable",
        "final class CaptureSession: NSObject",
    ),
    _races(
        "CameraPreview.swift",
        "Task { @MainActor in self?.turn(clockwise: angle) }",
        "self?.turn(clockwise: angle)",
    ),
    _races("ReferenceTests.swift", "try await classifier.reply", "try classifier.reply"),
    _races("ReferenceTests.swift", "cgImage: image, constraint", "image: image, constraint"),
    _logic("Classifier.swift", "$0.probability > $1", "$0.probability < $1", often=True),
    _logic("Classifier.swift", "        request.imageCropAndScaleOption = crop.option\n", ""),
    _logic(
        "Classifier.swift",
        "CGFloat(size.pixelsWide) / CGFloat(size.pixelsHigh)",
        "CGFloat(size.pixelsHigh) / CGFloat(size.pixelsWide)",
    ),
    _logic(
        "Crop.swift", "case .letterbox: return .scaleFit", "case .letterbox: return .scaleFill", often=True
    ),
    _logic("Crop.swift", "case .squash: return .resize\n", "case .squash: return .resizeAspect\n"),
    _logic("Picture.swift", "case 90: self = .right", "case 90: self = .left"),
    _logic("BundledModel.swift", "configuration.computeUnits = unit.units\n", ""),
    _logic("BundledModel.swift", "case .gpu: return .cpuAndGPU", "case .gpu: return .all"),
    _logic("BundledModel.swift", ".sorted { $0.name < $1.name }", ""),
    _logic("Answer.swift", 'table: "Labels"', "table: nil"),
    _logic("Recognition.swift", "photo == nil && underway == 0", "photo == nil", often=True),
    _logic("Recognition.swift", "if photo == nil && underway", "if underway"),
    _logic("Recognition.swift", "guard number == asked", "guard number <= asked", often=True),
    _logic("Recognition.swift", "guard number == loads", "guard number <= loads"),
    _logic("Recognition.swift", "best.probability < network", "best.probability > network", often=True),
    _logic(
        "Recognition.swift",
        "var wantsCamera: Bool { photo == nil }",
        "var wantsCamera: Bool { true }",
        often=True,
    ),
    _logic(
        "Recognition.swift",
        "        reply = nil\n        failed = false\n",
        "        reply = nil\n",
        often=True,
    ),
    _logic("Recognition.swift", "(reply, failed) = (found, found == nil)", "reply = found"),
    _logic(
        "Recognition.swift",
        'log.error("\\(String(describing: error), privacy: .public)")',
        'if asked < 0 { log.error("\\(String(describing: error), privacy: .public)") }',
    ),
    _logic(
        "Recognition.swift",
        "var crop = Crop.centreCrop { didSet { lookAgain() } }",
        "var crop = Crop.centreCrop",
    ),
    _logic("Recognition.swift", "        photo = nil\n        forget()", "        photo = nil"),
    _logic("PhotoLoader.swift", "        guard number == choice else { return }\n", "", often=True),
    _logic("PhotoLoader.swift", "        failed = false\n", ""),
    _logic(
        "PhotoLoader.swift",
        "kCGImageSourceCreateThumbnailWithTransform: true",
        "kCGImageSourceCreateThumbnailWithTransform: false",
    ),
    _logic("PhotoLoader.swift", "ThumbnailMaxPixelSize: 1024", "ThumbnailMaxPixelSize: 10240"),
    _logic("PhotoLoader.swift", "        progress?.cancel()\n", ""),
    _logic("Camera.swift", "{ await rest() }", "{}"),
    _logic(
        "Camera.swift",
        "        if name != AVCaptureSession.wasInterruptedNotification { await run() }\n",
        "",
        often=True,
    ),
    _logic("Camera.swift", "{ state = .interrupted }", "{}"),
    _logic("Camera.swift", "        guard isWanted else { return }\n        let runs", "        let runs"),
    _logic("Camera.swift", "        isWanted = false\n", ""),
    _logic("Camera.swift", "        position = other\n", ""),
    _logic("Camera.swift", "object: capture.session, queue", "object: nil, queue"),
    _logic("CaptureSession.swift", "        if let lastFrame, now - lastFrame < pause { return }\n", ""),
    _logic("CaptureSession.swift", "if let input { session.removeInput(input) }", ""),
    _logic("CaptureSession.swift", "self.input?.device.position == position || self", "self"),
    _logic(
        "CaptureSession.swift",
        "        queue.async { self.session.stopRunning() }",
        "        session.stopRunning()",
    ),
    _logic("CaptureSession.swift", "connection.videoRotationAngle = 0", "connection.videoRotationAngle = 90"),
    _logic("CaptureSession.swift", "session.sessionPreset = .vga640x480", "session.sessionPreset = .high"),
)
