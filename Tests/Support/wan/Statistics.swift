import Glibc
import LinuxNetworking

/// What the relay tells of itself: one JSON object on one line of standard output.
enum Statistics {
    static func print(up: borrowing Direction, down: borrowing Direction, began: UInt64) {
        let seconds = Double(Clock.monotonicNanoseconds() - began) / 1e9
        Swift.print(
            """
            {"seconds": \(seconds), "cpu_seconds": \(processorSeconds()), \
            "up": \(object(up)), "down": \(object(down))}
            """)
        flushOutput()
    }

    private static func object(_ direction: borrowing Direction) -> String {
        let counts = direction.counts
        var fields: [(String, UInt64)] = [
            ("packets_in", counts.packetsIn), ("bytes_in", counts.bytesIn),
            ("packets_out", counts.packetsOut), ("bytes_out", counts.bytesOut),
            ("lost", counts.lost), ("marked_ce", counts.markedCE),
            ("reordered", counts.reordered), ("dropped_full", counts.droppedFull),
            ("dropped_write", counts.droppedWrite), ("ignored", counts.ignored),
        ]
        fields.append(("queued", UInt64(direction.queuedCount)))
        fields.append(("queued_max", UInt64(counts.queuedMax)))
        let lateness = [
            ("p50", direction.lateness.microseconds(atQuantile: 0.5)),
            ("p99", direction.lateness.microseconds(atQuantile: 0.99)),
            ("p999", direction.lateness.microseconds(atQuantile: 0.999)),
            ("max", Double(direction.lateness.maxNanoseconds) / 1_000),
        ]
        let texts =
            fields.map { "\"\($0)\": \($1)" } + lateness.map { "\"lateness_\($0)_us\": \($1)" }
        return "{\(texts.joined(separator: ", "))}"
    }

    private static func processorSeconds() -> Double {
        var usage = rusage()
        // Cannot fail: the address is valid and the process is this one.
        _ = unsafe getrusage(RUSAGE_SELF.rawValue, &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) {
            $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6
        }
    }
}

/// A reader of a pipe waits for each line.
func flushOutput() {
    fflush(nil)
}
