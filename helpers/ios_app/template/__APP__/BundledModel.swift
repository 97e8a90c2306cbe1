import CoreML
import SwiftUI

/// A model that travels with the app. Xcode compiles each into a folder that ends in .mlmodelc.
struct BundledModel: Identifiable, Hashable, Sendable {
    let file: URL

    var id: URL { file }
    var name: String { file.deletingPathExtension().lastPathComponent }

    /// All of them, by name; the first one is used until another is chosen.
    static func all() -> [BundledModel] {
        let files = Bundle.main.urls(forResourcesWithExtension: "mlmodelc", subdirectory: nil) ?? []
        return files.map { BundledModel(file: $0) }.sorted { $0.name < $1.name }
    }

    /// Takes a second or so, the first time on the Neural Engine: call it off the main thread.
    func load(on unit: ComputeUnit) throws -> MLModel {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = unit.units
        return try MLModel(contentsOf: file, configuration: configuration)
    }
}

/// Which part of the chip may compute. Core ML decides, layer by layer, among those that it may use.
enum ComputeUnit: CaseIterable, Identifiable, Sendable {
    case all, cpu, gpu, neuralEngine

    var id: Self { self }

    /// What Core ML is told. A simulator has neither GPU nor Neural Engine for it.
    var units: MLComputeUnits {
        #if targetEnvironment(simulator)
        return .cpuOnly
        #else
        switch self {
        case .all: return .all
        case .cpu: return .cpuOnly
        case .gpu: return .cpuAndGPU
        case .neuralEngine: return .cpuAndNeuralEngine
        }
        #endif
    }

    var name: LocalizedStringKey {
        switch self {
        case .all: return "Whatever is fastest"
        case .cpu: return "CPU alone"
        case .gpu: return "CPU and GPU"
        case .neuralEngine: return "CPU and Neural Engine"
        }
    }
}
