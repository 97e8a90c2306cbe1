import SwiftUI

/// The most probable class, or "not sure", and below it the best answers with their probabilities.
struct AnswersView: View {
    @ObservedObject var recognition: Recognition
    /// Without a camera there is nothing to look at before a photo is chosen.
    let hasCamera: Bool
    @Environment(\.dynamicTypeSize) private var textSize

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            headline
                .font(.largeTitle.bold())
                .accessibilityAddTraits([.isHeader, .updatesFrequently])
            if case let .unusable(problem) = verdict {
                Text(verbatim: problem)
            }
            ForEach(recognition.reply?.answers.prefix(3) ?? []) { answer in
                row(answer)
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    private var verdict: Recognition.Verdict {
        recognition.verdict(hasCamera: hasCamera)
    }

    private var headline: Text {
        switch verdict {
        case .unusable: return Text("The model cannot be used")
        case .noPicture: return Text("No picture yet")
        case .looking: return Text("Looking …")
        case .failed: return Text("The model gave no answer.")
        case .notSure: return Text("Not sure")
        case let .sure(answer): return Text(verbatim: answer.name)
        }
    }

    /// Name and number side by side; at the largest text sizes one below the other.
    private func row(_ answer: Answer) -> some View {
        let layout = textSize.isAccessibilitySize
            ? AnyLayout(VStackLayout(alignment: .leading)) : AnyLayout(HStackLayout())
        return VStack(alignment: .leading, spacing: 4) {
            layout {
                Text(verbatim: answer.name)
                Spacer(minLength: 0)
                Text(answer.probability, format: .percent.precision(.fractionLength(0)))
                    .monospacedDigit()
            }
            ProgressView(value: min(max(answer.probability, 0), 1))
                .accessibilityHidden(true)
        }
        .accessibilityElement(children: .combine)
    }
}

#Preview("Sure") { AnswersView(recognition: .canned(), hasCamera: true) }

#Preview("Not sure, largest text") {
    AnswersView(recognition: .canned(threshold: 1), hasCamera: true)
        .environment(\.dynamicTypeSize, .accessibility5)
}
