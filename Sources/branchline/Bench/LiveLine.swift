import LinuxNetworking
import PathBenchmark
import SystemPackage

/// How far a test is, in one line of a terminal that is written over again and again. Nothing is
/// shown where messages go elsewhere.
struct LiveLine {
    private let isShown = Terminal.isTerminal(.standardError)

    func show(_ text: String) {
        if isShown { write(Self.clearance + Text.line(text)) }
    }

    /// - Parameter began: Of the monotonic clock.
    func show(
        _ part: String, since began: UInt64, of seconds: Int,
        _ transfer: TestMessage.Transfer? = nil
    ) {
        guard isShown else { return }
        let passed = min(Double(Clock.monotonicNanoseconds() - began) / 1e9, Double(seconds))
        let rate = (transfer?.bitsPerSecond).map { "  \(Text.rate($0))" } ?? ""
        show("\(part)  \(Text.decimal(passed, 1)) of \(seconds) s\(rate)")
    }

    func clear() {
        if isShown { write(Self.clearance) }
    }

    private func write(_ text: String) {
        // Nobody is left to hear of a failure.
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }

    /// To the line's start, and all after it away (ECMA-48).
    private static let clearance = "\r\u{1B}[K"
}
