/// What a run came to, as a table for people and as JSON for programs.
public struct LoadResult: Sendable {
    public let seconds: Double
    public let kinds: [(TrafficKind, KindResult)]
    /// Requests of a trace that began more than 100 ms late, for want of a place.
    public let lateRequests: Int

    /// Whether nothing at all was answered.
    public var isFailure: Bool { kinds.allSatisfy { $0.1.requests == 0 } }

    public var failures: [String] {
        kinds.compactMap { kind, result in
            result.firstFailure.map {
                "\(kind.rawValue): \(result.failures) of \(result.requests + result.failures) "
                    + "requests failed, the first with: \($0)"
                    + (result.requests == 0 && !kind.isOpenAI ? Self.whoHasIt : "")
            }
        }
    }

    /// One object; durations in milliseconds, rates in bits a second.
    public var json: String {
        let classes = kinds.map { kind, result in
            """
            "\(kind.rawValue)": {"requests": \(result.requests), "failures": \(result.failures), \
            "cut": \(result.cut), "bytes_up": \(result.bytesUp), \
            "bytes_down": \(result.bytesDown), \
            "goodput_up_bps": \(Self.number(rate(result.bytesUp))), \
            "goodput_down_bps": \(Self.number(rate(result.bytesDown))), \
            "chunks": \(result.chunks), "stalls": \(result.stalls), \
            "ttft_ms": \(Self.object(result.firstToken)), \
            "itl_ms": \(Self.object(result.interToken)), \
            "total_ms": \(Self.object(result.whole))}
            """
        }
        return """
            {"seconds": \(Self.number(seconds)), "late_requests": \(lateRequests), \
            "classes": {\(classes.joined(separator: ", "))}}
            """
    }

    public var table: String {
        var lines = [
            Self.row(
                ["", "requests", "failed", "cut", "up Mbit/s", "down", "", "p50 ms", "p90", "p99"]
                    + ["p99.9", "max"])
        ]
        for (kind, result) in kinds {
            let head = [
                kind.rawValue, "\(result.requests)", "\(result.failures)", "\(result.cut)",
                Self.short(rate(result.bytesUp) / 1e6), Self.short(rate(result.bytesDown) / 1e6),
            ]
            let parts = [
                ("first token", result.firstToken), ("inter-token", result.interToken),
                ("whole", result.whole),
            ].filter { $0.1.count > 0 }
            for (index, (name, latencies)) in parts.enumerated() {
                let start = index == 0 ? head : [String](repeating: "", count: head.count)
                lines.append(Self.row(start + [name] + Self.quantiles(latencies).map(Self.short)))
            }
            if parts.isEmpty { lines.append(Self.row(head)) }
        }
        return lines.joined(separator: "\n")
    }

    private func rate(_ bytes: Int) -> Double { seconds > 0 ? Double(bytes) * 8 / seconds : 0 }

    private static func object(_ latencies: LatencyHistogram) -> String {
        let names = ["p50", "p90", "p99", "p999", "max"]
        let fields = zip(names, quantiles(latencies)).map { "\"\($0)\": \(number($1))" }
        let mean = latencies.meanNanoseconds.map { $0 / 1e6 } ?? .nan
        return """
            {"count": \(latencies.count), "mean": \(number(mean)), \
            \(fields.joined(separator: ", "))}
            """
    }

    /// In milliseconds.
    private static func quantiles(_ latencies: LatencyHistogram) -> [Double] {
        let values = [0.5, 0.9, 0.99, 0.999, 1].map { latencies.nanoseconds(atQuantile: $0) }
        return values.map { $0.map { Double($0) / 1e6 } ?? .nan }
    }

    /// JSON has no number for what was not measured.
    private static func number(_ value: Double) -> String {
        value.isFinite ? "\((value * 1000).rounded() / 1000)" : "null"
    }

    private static func short(_ value: Double) -> String {
        guard value.isFinite else { return "-" }
        return value >= 100 ? "\(Int(value.rounded()))" : "\((value * 10).rounded() / 10)"
    }

    private static func row(_ cells: [String]) -> String {
        zip(cells, widths).map { cell, width in
            let padding = String(repeating: " ", count: max(0, abs(width) - cell.count))
            return width < 0 ? cell + padding : padding + cell
        }.joined(separator: "  ")
    }

    private static let whoHasIt = "; only Examples/InferenceServer serves this kind"

    /// Negative for columns that stand to the left.
    private static let widths = [-10, 8, 6, 5, 9, 9, -11, 9, 9, 9, 9, 9]
}
