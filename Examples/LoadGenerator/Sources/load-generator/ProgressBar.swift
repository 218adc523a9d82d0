import Foundation
import LoadGeneration

/// One line of a terminal that says how far the run is.
struct ProgressBar {
    let durationSeconds: Double

    /// Redraws until the task is cancelled, then wipes the line.
    func follow(_ runner: LoadRunner) async {
        while !Task.isCancelled {
            show(line(runner.progress))
            try? await Task.sleep(for: .milliseconds(250))
        }
        show("")
    }

    private func line(_ progress: LoadRunner.Progress) -> String {
        let share = min(1, progress.seconds / durationSeconds)
        let full = Int(share * Double(Self.width))
        let bar = String(repeating: "#", count: full)
            + String(repeating: "-", count: Self.width - full)
        let megabytes = Double(progress.bytes / 100_000) / 10
        let failures = progress.failures > 0 ? ", \(progress.failures) failed" : ""
        return "[\(bar)] \(Int(progress.seconds))/\(Int(durationSeconds)) s, "
            + "\(progress.underWay) under way, \(progress.requests) answered\(failures), "
            + "\(megabytes) MB"
    }

    /// Returns to the line's beginning and erases what was there (ECMA-48, EL).
    private func show(_ text: String) {
        FileHandle.standardError.write(Data("\r\u{1b}[K\(text)".utf8))
    }

    private static let width = 24
}
