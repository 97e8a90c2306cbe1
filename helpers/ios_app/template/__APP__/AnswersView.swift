import SwiftUI

/// The most probable class, or "not sure", and below it the best answers with their probabilities.
struct AnswersView: View {
    @ObservedObject var recognition: Recognition

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
            return recognition.failed ? Text("The model gave no answer.") : Text("Looking …")
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
