import SwiftUI

/// What can be tried out: how the picture is fitted, which model is asked, and what computes it.
struct SettingsView: View {
    @ObservedObject var recognition: Recognition
    @Environment(\.dynamicTypeSize) private var textSize

    var body: some View {
        VStack(alignment: .leading, spacing: 16) {
            fitting
            if recognition.models.count > 1 {
                titled("Model") {
                    Picker("Model", selection: $recognition.model) {
                        ForEach(recognition.models) { model in
                            Text(verbatim: model.name).tag(Optional(model))
                        }
                    }
                    .pickerStyle(.menu)
                }
            }
            titled("Computed by") {
                Picker("Computed by", selection: $recognition.unit) {
                    ForEach(ComputeUnit.allCases) { unit in
                        Text(unit.name).tag(unit)
                    }
                }
                .pickerStyle(.menu)
            }
            if let reply = recognition.reply {
                titled("Milliseconds per picture") {
                    Text(reply.milliseconds, format: .number.precision(.fractionLength(1)))
                        .monospacedDigit()
                }
            }
        }
    }

    private var fitting: some View {
        titled("How the picture is fitted") {
            let picker = Picker("How the picture is fitted", selection: $recognition.crop) {
                ForEach(Crop.allCases) { crop in
                    Text(crop.name).tag(crop)
                }
            }
            // Segments do not grow with the text.
            if textSize.isAccessibilitySize {
                picker.pickerStyle(.menu)
            } else {
                picker.pickerStyle(.segmented)
            }
            Text(recognition.crop.explanation)
                .font(.footnote)
                .foregroundStyle(.secondary)
        }
    }

    private func titled<Content: View>(
        _ title: LocalizedStringKey, @ViewBuilder content: () -> Content
    ) -> some View {
        VStack(alignment: .leading, spacing: 4) {
            Text(title)
                .font(.footnote)
                .foregroundStyle(.secondary)
                .accessibilityHidden(true)
            content()
        }
    }
}

#Preview("Two models") { SettingsView(recognition: .canned()) }
