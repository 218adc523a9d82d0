/// Writes the Prometheus text exposition format, version 0.0.4.
///
/// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
struct PrometheusText {
    private(set) var text = ""
    /// Labels that every sample carries, already written: `a="b",c="d"`.
    private let labels: String

    /// - Parameter labels: Carried by every sample, in this order.
    init(labels: [(name: String, value: String)]) {
        self.labels = labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }
            .joined(separator: ",")
    }

    mutating func gauge(_ name: String, _ help: String, _ value: Double) {
        header(name, help, "gauge")
        sample(name, value)
    }

    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        header(name, help, "counter")
        sample(name, Double(value))
    }

    /// A counter with one more label.
    mutating func counter(
        _ name: String, _ help: String, by label: String, _ values: [(String, UInt64)]
    ) {
        header(name, help, "counter")
        for (value, count) in values {
            sample(name, Double(count), extra: ",\(label)=\"\(Self.escaped(value))\"")
        }
    }

    mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
        header(name, help, "histogram")
        var cumulative: UInt64 = 0
        for (border, count) in zip(histogram.borders, histogram.counts) {
            cumulative += count
            sample(name + "_bucket", Double(cumulative), extra: ",le=\"\(border)\"")
        }
        sample(name + "_bucket", Double(histogram.count), extra: ",le=\"+Inf\"")
        sample(name + "_sum", histogram.sum)
        sample(name + "_count", Double(histogram.count))
    }

    private mutating func header(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    private mutating func sample(_ name: String, _ value: Double, extra: String = "") {
        text += "\(name){\(labels)\(extra)} \(value)\n"
    }

    private static func escaped(_ value: String) -> String {
        value.flatMap { character -> [Character] in
            switch character {
            case "\\": ["\\", "\\"]
            case "\"": ["\\", "\""]
            case "\n": ["\\", "n"]
            default: [character]
            }
        }.reduce(into: "") { $0.append($1) }
    }
}
