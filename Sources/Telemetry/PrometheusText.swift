/// Writes metrics in Prometheus' text format, version 0.0.4.
///
/// A family begins with its help and type, its samples follow it. Names are the callers', who
/// write only letters, digits and underscores; label values are escaped here.
///
/// Source: Prometheus, "Text-based format".
public struct PrometheusText: Sendable {
    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    public private(set) var text = ""

    public init() {}

    /// What an HTTP answer with this text is.
    public static var contentType: String { "text/plain; version=0.0.4; charset=utf-8" }

    public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n"
        text += "# TYPE \(name) \(kind.rawValue)\n"
    }

    public mutating func sample(
        _ name: String, _ value: some BinaryInteger, _ labels: [(String, String)] = []
    ) {
        text += "\(name)\(Self.labels(labels)) \(value)\n"
    }

    public mutating func sample(
        _ name: String, _ value: Double, _ labels: [(String, String)] = []
    ) {
        text += "\(name)\(Self.labels(labels)) \(Self.number(value))\n"
    }

    /// The samples of one histogram.
    public mutating func histogram(
        _ name: String, _ histogram: Histogram, _ labels: [(String, String)] = []
    ) {
        var cumulative: UInt64 = 0
        for (bound, count) in zip(histogram.bounds, histogram.counts) {
            cumulative &+= count
            sample("\(name)_bucket", cumulative, labels + [("le", Self.number(bound))])
        }
        sample("\(name)_bucket", histogram.count, labels + [("le", "+Inf")])
        sample("\(name)_sum", histogram.sum, labels)
        sample("\(name)_count", histogram.count, labels)
    }

    private static func labels(_ labels: [(String, String)]) -> String {
        guard !labels.isEmpty else { return "" }
        let pairs = labels.map { "\($0)=\"\(escaped($1, quotes: true))\"" }
        return "{\(pairs.joined(separator: ","))}"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "\\": result += "\\\\"
            case "\n", "\r\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.append(character)
            }
        }
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        let isWhole = value == value.rounded() && abs(value) < 1e15
        return isWhole ? "\(Int64(value))" : "\(value)"
    }
}
