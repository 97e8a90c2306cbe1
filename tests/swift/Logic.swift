// Runs what the app decides, here on Linux, with cameras, photos, models and a Vision that answer what they are told.
// It is compiled into the app's own module, without the views. Ends at the first check that fails, and says which.
import AVFoundation
import Foundation
import OSLog
import PhotosUI
import Vision

@MainActor var passed = 0

/// Not `print`, which keeps its text back when the program is stopped.
func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }

@MainActor func check(_ what: String, _ fine: Bool, line: UInt = #line) {
    passed += 1
    if !fine {
        say("line \(line): \(what)")
        exit(1)
    }
}
/// Lets the main actor work until something holds; five seconds are more than it takes on any machine.
@MainActor func wait(until done: @MainActor () -> Bool) async {
    for _ in 0 ..< 5000 where !done() { try? await Task.sleep(for: .milliseconds(1)) }
}
/// Lets everything happen that is under way, before it is said that something did not happen. Many short turns: on a
/// machine that is busy each takes longer, for what is waited for as well.
@MainActor func settle() async {
    for _ in 0 ..< 30 { try? await Task.sleep(for: .milliseconds(2)) }
}

struct Broken: Error {}

/// A network that is told what to answer, and when.
final class Puppet: Network, @unchecked Sendable { // everything in it is touched on the main actor only
    let threshold: Double, shape: CGFloat
    @MainActor var answers: [(String, Double)]? = [("cat", 0.9), ("dog", 0.1)]
    @MainActor var asked: [(Picture, Crop)] = []
    @MainActor var holds = false

    init(threshold: Double = 0.5, shape: CGFloat = 1) { (self.threshold, self.shape) = (threshold, shape) }

    @MainActor func reply(to picture: Picture, crop: Crop) async throws -> Reply {
        asked.append((picture, crop))
        let answers = answers
        while holds { try await Task.sleep(for: .milliseconds(1)) }
        guard let answers else { throw Broken() }
        return Reply(answers: answers.map { Answer(label: $0.0, probability: $0.1) }, milliseconds: 2)
    }
}

func file(_ name: String) -> BundledModel { BundledModel(file: URL(fileURLWithPath: "/\(name).mlmodelc")) }
func photo(_ width: Int = 64) -> Picture { .photo(CGImage(width: width, height: 48)) }
func frame() -> Picture { .frame(CVPixelBuffer(), .right) }
func width(_ picture: Picture?) -> Int? { picture?.image?.width }

@main @MainActor struct Logic {
    static func main() async {
        orientations()
        crops()
        models()
        await classifiers()
        await answers()
        await frames()
        await photos()
        await choices()
        await loading()
        await cameras()
        await interruptions()
        await capture()
        say("\(passed) checks passed")
        exit(0)
    }

    static func orientations() {
        let turns: [(CGFloat, CGImagePropertyOrientation)] = [(0, .up), (90, .right), (180, .down), (270, .left), (45, .up)]
        for (degrees, wanted) in turns { check("clockwise \(degrees)", .init(clockwise: degrees) == wanted) }
        check("a photo is upright", photo().handler.orientation == .up && photo(7).handler.image?.width == 7)
        check("a frame is turned", frame().handler.orientation == .right && frame().image == nil)
    }

    static func crops() {
        check("three ways", Crop.allCases.count == 3)
        check("centre", Crop.centreCrop.option == .centerCrop && Crop.centreCrop.gravity == .resizeAspectFill)
        check("letterbox", Crop.letterbox.option == .scaleFit && Crop.letterbox.gravity == .resizeAspect)
        check("squash", Crop.squash.option == .scaleFill && Crop.squash.gravity == .resize)
        check("names", Set(Crop.allCases.map(\.name.key)).count == 3 && Set(Crop.allCases.map(\.explanation.key)).count == 3)
    }

    static func models() {
        Bundle.found = nil
        check("no model", BundledModel.all().isEmpty)
        Bundle.found = ["B", "A"].map { URL(fileURLWithPath: "/\($0).mlmodelc") }
        check("by name", BundledModel.all().map(\.name) == ["A", "B"])
        let units: [ComputeUnit: MLComputeUnits] =
            [.all: .all, .cpu: .cpuOnly, .gpu: .cpuAndGPU, .neuralEngine: .cpuAndNeuralEngine]
        check("each unit", ComputeUnit.allCases.count == 4 && ComputeUnit.allCases.allSatisfy { $0.units == units[$0] })
        check("names", Set(ComputeUnit.allCases.map(\.name.key)).count == 4)
        Bundle.strings = ["cat": "猫"]
        check("translated", Answer(label: "cat", probability: 1).name == "猫" && Answer(label: "dog", probability: 1).name == "dog")
    }

    static func describe(_ image: String, _ size: (Int, Int)?, _ threshold: Any?) {
        let feature = MLFeatureDescription(size.map { MLImageConstraint($0.0, $0.1) })
        let data: [MLModelMetadataKey: Any] = threshold.map { [.creatorDefinedKey: ["threshold": $0]] } ?? [:]
        MLModel.files["A.mlmodelc"] = MLModelDescription([image: feature], data)
    }

    static func classifiers() async {
        func problem() -> Classifier.Problem? {
            do { _ = try Classifier(file("A"), on: .cpu); return nil } catch { return error as? Classifier.Problem }
        }
        describe("image", nil, "0.5")
        check("no picture", problem() == .noPicture)
        describe("other", (48, 32), "0.5")
        check("another input", problem() == .noPicture)
        describe("image", (48, 32), nil)
        check("no threshold", problem() == .noThreshold)
        describe("image", (48, 32), "half")
        check("no number", problem() == .noThreshold)
        for each in [Classifier.Problem.noModel, .noPicture, .noThreshold, .noAnswer] {
            check("a text", each.localizedDescription == each.errorDescription && each.errorDescription?.hasSuffix(".") == true)
        }

        describe("image", (48, 32), "0.5")
        MLModel.opened = []
        guard let network = try? await Classifier.load(file("A"), on: .neuralEngine) else { return check("it loads", false) }
        check("the unit is passed on", MLModel.opened == [.cpuAndNeuralEngine])
        check("width : height", network.shape == 1.5 && network.threshold == 0.5)
        for crop in Crop.allCases {
            VNImageRequestHandler.answer = { handler, request in
                let told = request.imageCropAndScaleOption == crop.option && request.model.inputImageFeatureName == "image"
                guard told, handler.orientation == .right else { throw Broken() }
                return [VNClassificationObservation("cat", 0.25), VNClassificationObservation("dog", 0.75)]
            }
            let reply = try? await network.reply(to: frame(), crop: crop)
            check("Vision is told how, off the main thread", reply != nil)
            check("most probable first", reply?.answers.map(\.label) == ["dog", "cat"] && reply?.answers[0].probability == 0.75)
        }
        VNImageRequestHandler.answer = { _, _ in Thread.sleep(forTimeInterval: 0.02); return [VNClassificationObservation("cat", 1)] }
        let time = (try? await network.reply(to: photo(), crop: .squash))?.milliseconds ?? 0
        check("milliseconds, of Vision alone", time >= 20 && time < 20_000)
        for empty in [nil, [VNClassificationObservation]()] {
            VNImageRequestHandler.answer = { _, _ in empty }
            var found: (any Error)?
            do { _ = try await network.reply(to: photo(), crop: .squash) } catch { found = error }
            check("no answer", found as? Classifier.Problem == .noAnswer)
        }
        VNImageRequestHandler.answer = { _, _ in throw Broken() }
        var broken = false
        do { _ = try await network.reply(to: photo(), crop: .squash) } catch is Broken { broken = true } catch {}
        check("Vision's own error", broken)
    }

    /// A recognition whose network is there already.
    static func ready(_ puppet: Puppet = Puppet()) async -> (Recognition, Puppet) {
        let recognition = Recognition(models: [file("A"), file("B")]) { _, _ in puppet }
        recognition.show(photo())
        await wait { recognition.reply != nil }
        recognition.returnToCamera()
        puppet.asked = []
        return (recognition, puppet)
    }

    static func answers() async {
        let (recognition, puppet) = await ready()
        check("nothing to see", recognition.verdict(hasCamera: false) == .noPicture)
        check("looking", recognition.verdict(hasCamera: true) == .looking && recognition.wantsCamera)
        recognition.see(frame())
        check("not at once", recognition.reply == nil)
        await wait { recognition.reply != nil }
        check("sure", recognition.verdict(hasCamera: true) == .sure(Answer(label: "cat", probability: 0.9)))
        puppet.answers = [("cat", 0.5), ("dog", 0.3)]
        recognition.see(frame())
        await wait { recognition.reply?.answers[0].probability == 0.5 }
        check("at the threshold it is sure", recognition.verdict(hasCamera: true) == .sure(Answer(label: "cat", probability: 0.5)))
        puppet.answers = [("cat", 0.49)]
        recognition.see(frame())
        await wait { recognition.reply?.answers.count == 1 }
        check("below it is not", recognition.verdict(hasCamera: true) == .notSure)

        Logger.errors = []
        puppet.answers = nil
        recognition.see(frame())
        await wait { recognition.failed }
        check("a failure", recognition.verdict(hasCamera: true) == .failed && recognition.reply == nil)
        check("is logged", Logger.errors.count == 1 && Logger.errors[0].contains("Broken"))
        puppet.holds = true
        recognition.show(photo())
        check("the next picture clears it", recognition.verdict(hasCamera: true) == .looking && !recognition.failed)
        puppet.holds = false
        await wait { recognition.failed }
        recognition.returnToCamera()
        check("so does the way back", !recognition.failed)
        puppet.answers = [("dog", 1)]
        recognition.see(frame())
        await wait { recognition.reply != nil }
        check("and a frame that works", recognition.verdict(hasCamera: true) == .sure(Answer(label: "dog", probability: 1)))
    }

    static func frames() async {
        let (recognition, puppet) = await ready()
        puppet.holds = true
        for _ in 0 ..< 5 { recognition.see(frame()) }
        await settle()
        check("one at a time", puppet.asked.count == 1)
        puppet.holds = false
        await wait { recognition.reply != nil }
        recognition.see(frame())
        await wait { puppet.asked.count == 2 }
        check("then the next", puppet.asked.count == 2)
        await settle()

        puppet.holds = true
        recognition.see(frame())
        await wait { puppet.asked.count == 3 }
        recognition.returnToCamera()
        puppet.holds = false
        await settle()
        check("what was asked before is dropped", recognition.reply == nil)
        puppet.holds = true
        recognition.see(frame())
        await wait { puppet.asked.count == 4 }
        recognition.crop = .squash
        puppet.holds = false
        await settle()
        check("so is the answer to another fitting", recognition.reply == nil)
        recognition.see(frame())
        await wait { recognition.reply != nil }
        check("the chosen one is asked about", puppet.asked.last?.1 == .squash)
    }

    static func photos() async {
        let (recognition, puppet) = await ready()
        recognition.show(photo(7))
        check("the camera rests", !recognition.wantsCamera && recognition.reply == nil)
        await wait { recognition.reply != nil }
        recognition.see(frame())
        await settle()
        check("frames are passed over", puppet.asked.count == 1 && width(puppet.asked[0].0) == 7)
        recognition.crop = .letterbox
        await wait { puppet.asked.count == 2 }
        check("another fitting asks again", puppet.asked.last.map { width($0.0) == 7 && $0.1 == .letterbox } == true)
        puppet.holds = true
        recognition.show(photo(8))
        await wait { puppet.asked.count == 3 }
        puppet.answers = [("new", 1)]
        recognition.show(photo(9))
        puppet.holds = false
        await wait { recognition.reply != nil }
        await settle()
        check("the newer photo's answer stays", recognition.reply?.answers.first?.label == "new" && width(recognition.photo) == 9)
        recognition.returnToCamera()
        check("back", recognition.photo == nil && recognition.reply == nil && recognition.wantsCamera)
        recognition.crop = .centreCrop
        await settle()
        check("no photo, nothing to ask", puppet.asked.count == 4)
    }

    static var hold = true, late = false, asked: [(String, ComputeUnit)] = []

    static func choices() async {
        let none = Recognition(models: []) { _, _ in Puppet() }
        check("no model: says so", none.verdict(hasCamera: true) == .unusable("There is no model in the app."))
        none.see(frame())
        none.show(photo())
        await settle()
        check("no model: stays quiet", none.reply == nil && !none.failed)

        let slow = Puppet(shape: 3), fast = Puppet(threshold: 1, shape: 2)
        (hold, asked) = (true, [])
        let recognition = Recognition(models: [file("A"), file("B")]) { model, unit in
            await MainActor.run { asked.append((model.name, unit)) }
            if unit == .gpu { throw Classifier.Problem.noPicture }
            guard model.name == "A" else { return fast }
            while await hold { try await Task.sleep(for: .milliseconds(1)) }
            await MainActor.run { late = true }
            return slow
        }
        check("the first one", recognition.model?.name == "A" && recognition.models.count == 2)
        recognition.show(photo())
        recognition.model = file("B")
        await wait { recognition.reply != nil }
        check("the other one", recognition.shape == 2 && fast.asked.count == 1 && recognition.verdict(hasCamera: false) == .notSure)
        hold = false
        await wait { late }
        await settle()
        check("an older choice that comes late is dropped", recognition.shape == 2 && slow.asked.isEmpty)
        recognition.unit = .cpu
        check("another unit forgets", recognition.reply == nil)
        await wait { recognition.reply != nil }
        check("and asks again", asked.last.map { $0 == ("B", .cpu) } == true && fast.asked.count == 2)
        Logger.errors = []
        recognition.unit = .gpu
        await wait { recognition.verdict(hasCamera: true) != .looking }
        check("a model that cannot be loaded", recognition.verdict(hasCamera: true) == .unusable("The model does not take a picture."))
        check("is logged with its name", Logger.errors.first?.hasPrefix("B: ") == true)
        recognition.unit = .all
        await wait { recognition.reply != nil }
        check("can be left again", recognition.verdict(hasCamera: false) == .notSure)
    }

    final class Slow: PhotoSource {
        let progress = Progress(totalUnitCount: 1)
        var deliver: (@Sendable (Data?) -> Void)?
        func load(then deliver: @escaping @Sendable (Data?) -> Void) -> Progress {
            self.deliver = deliver
            return progress
        }
    }

    static func loading() async {
        let loader = PhotoLoader()
        var shown: [Int?] = []
        loader.onPhoto = { shown.append(width($0)) }
        CGImageSource.asked = []
        let first = Slow(), second = Slow()
        loader.load(first)
        check("on its way", loader.progress === first.progress && !loader.failed)
        loader.load(second)
        check("a newer one calls it off", first.progress.isCancelled && loader.progress === second.progress)
        second.deliver?(Data([4, 3]))
        await wait { !shown.isEmpty }
        first.deliver?(Data([1, 1]))
        await settle()
        check("and wins", shown == [64] && loader.progress == nil)
        let asked = CGImageSource.asked.first ?? [:]
        check("small", asked["kCGImageSourceThumbnailMaxPixelSize"] as? Int == 1024)
        check("turned", asked["kCGImageSourceCreateThumbnailWithTransform"] as? Bool == true)
        check("of the photo itself", asked["kCGImageSourceCreateThumbnailFromImageAlways"] as? Bool == true)

        for bad in [nil, Data([1])] {
            let source = Slow()
            loader.load(source)
            check("cleared by the next choice", !loader.failed)
            source.deliver?(bad)
            await wait { loader.failed }
            check("cannot be opened", loader.failed && loader.progress == nil && shown.count == 1)
        }
        let again = Slow()
        loader.load(again)
        again.deliver?(Data([4, 3]))
        await wait { shown.count == 2 }
        check("chosen again", shown.count == 2 && !loader.failed)
        let left = Slow()
        loader.load(left)
        loader.cancel()
        left.deliver?(Data([4, 3]))
        await settle()
        check("nothing after it was called off", left.progress.isCancelled && shown.count == 2 && loader.progress == nil)
    }

    static func cameras() async {
        AVCaptureDevice.cameras = []
        let none = Camera()
        none.start()
        check("no camera", none.state == .missing && !none.canFlip)
        AVCaptureDevice.cameras = [.back]
        AVCaptureDevice.allowed = false
        let forbidden = Camera()
        check("waits", forbidden.state == .waiting)
        forbidden.start()
        await wait { forbidden.state != .waiting }
        check("forbidden", forbidden.state == .forbidden && forbidden.capture.session.inputs.isEmpty)
        AVCaptureDevice.allowed = true
        forbidden.start()
        await wait { forbidden.state == .running }
        check("allowed later", forbidden.state == .running)

        let camera = Camera()
        let session = camera.capture.session
        camera.start()
        await wait { camera.state == .running }
        let input = session.inputs.first
        check("runs", session.isRunning && session.inputs.count == 1 && session.outputs.count == 1)
        check("small frames, unturned", session.sessionPreset == .vga640x480
            && session.outputs[0].connection(with: .video)?.videoRotationAngle == 0)
        camera.stop()
        await wait { !session.isRunning }
        check("stops", !session.isRunning && camera.state == .waiting)
        camera.start()
        camera.stop()
        await settle()
        check("a stop on the heels of a start", !session.isRunning && camera.state == .waiting)
        camera.start()
        await wait { camera.state == .running }
        check("again, with the same parts", session.isRunning && session.inputs.first === input && session.inputs.count == 1)

        check("no other side", !camera.canFlip)
        AVCaptureDevice.cameras = [.back, .front]
        check("another side", camera.canFlip)
        camera.flip()
        func side() -> AVCaptureDevice.Position? { (session.inputs.first as? AVCaptureDeviceInput)?.device.position }
        await wait { side() == .front }
        check("the front", side() == .front && camera.position == .front && session.inputs.count == 1 && session.outputs.count == 1)
        camera.flip()
        await wait { side() == .back }
        check("and back", side() == .back && camera.position == .back)
        weak var gone: Camera?
        do { let short = Camera(); gone = short }
        await wait { gone == nil }
        check("nothing holds a camera that nobody uses", gone == nil)
    }

    static var rests = true

    static func interruptions() async {
        AVCaptureDevice.cameras = [.back]
        rests = true
        let camera = Camera { while await rests { try? await Task.sleep(for: .milliseconds(1)) } }
        let session = camera.capture.session
        func post(_ name: Notification.Name, _ object: AVCaptureSession) { NotificationCenter.default.post(name: name, object: object) }
        post(AVCaptureSession.wasInterruptedNotification, session)
        await settle()
        check("of no interest before it runs", camera.state == .waiting)
        camera.start()
        await wait { camera.state == .running }
        post(AVCaptureSession.wasInterruptedNotification, AVCaptureSession())
        await settle()
        check("another session's", camera.state == .running)
        post(AVCaptureSession.wasInterruptedNotification, session)
        await wait { camera.state == .interrupted }
        await settle()
        check("interrupted", camera.state == .interrupted)
        post(AVCaptureSession.interruptionEndedNotification, session)
        await wait { camera.state == .running }
        check("comes back", camera.state == .running && session.isRunning)
        camera.capture.stop()
        await wait { !session.isRunning }
        post(AVCaptureSession.runtimeErrorNotification, session)
        await wait { camera.state == .interrupted }
        await settle()
        check("an error", camera.state == .interrupted && !session.isRunning)
        rests = false
        await wait { camera.state == .running }
        check("is started again", camera.state == .running && session.isRunning)
        rests = true
        post(AVCaptureSession.runtimeErrorNotification, session)
        await wait { camera.state == .interrupted }
        camera.stop()
        rests = false
        await settle()
        check("not after it was stopped", camera.state == .waiting && !session.isRunning)
    }

    static func capture() async {
        AVCaptureDevice.cameras = [.back]
        var seen: [CGImagePropertyOrientation] = []
        func watch(_ pause: Duration) async -> (Camera, AVCaptureVideoDataOutput) {
            let camera = Camera(capture: CaptureSession(pause: pause))
            camera.onFrame = { picture in
                MainActor.assertIsolated()
                if case let .frame(_, orientation) = picture { seen.append(orientation) }
            }
            camera.start()
            await wait { camera.state == .running }
            return (camera, camera.capture.session.outputs[0] as! AVCaptureVideoDataOutput)
        }
        let (rare, slow) = await watch(.seconds(3600))
        slow.deliver(nil)
        await settle()
        check("no picture in it", seen.isEmpty)
        for _ in 0 ..< 3 {
            slow.deliver(CVImageBuffer())
            await settle()
        }
        check("the first, as the sensor is held; then a pause", seen == [.right] && rare.state == .running)
        let (often, fast) = await watch(.zero)
        often.capture.turn(clockwise: 180)
        for number in 2 ... 3 {
            fast.deliver(CVImageBuffer())
            await wait { seen.count == number }
        }
        check("turned, and one after the other", seen == [.right, .down, .down])
    }
}
