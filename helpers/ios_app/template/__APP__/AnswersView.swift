import SwiftUI

/// The most probable class, or "not sure", and below it the best answers with their probabilities.
struct AnswersView: View {
    @ObservedObject var recognition: Recognition
    /// Without a camera there is nothing to look at before a photo is chosen.
    let hasPicture: Bool

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            headline
                .font(.largeTitle.bold())
                .accessibilityAddTraits([.isHeader, .updatesFrequently])
            ForEach(recognition.answers.prefix(3)) { answer in
                row(answer)
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    private var headline: Text {
        guard let best = recognition.answers.first else {
            if recognition.failed { return Text("The model gave no answer.") }
            return hasPicture ? Text("Looking …") : Text("No picture yet")
        }
        return best.probability < recognition.threshold ? Text("Not sure") : Text(verbatim: best.name)
    }

    private func row(_ answer: Answer) -> some View {
        VStack(alignment: .leading, spacing: 4) {
            HStack {
                Text(verbatim: answer.name)
                Spacer()
                Text(answer.probability, format: .percent.precision(.fractionLength(0)))
                    .monospacedDigit()
            }
            ProgressView(value: min(max(answer.probability, 0), 1))
                .accessibilityHidden(true)
        }
        .accessibilityElement(children: .combine)
    }
}
