import ControlModel
import Foundation

/// Numbers in the words of `wg show`.
enum Text {
    /// Bytes in binary units, as `wg` writes them: "1.50 MiB".
    static func bytes(_ count: UInt64) -> String {
        if count < 1024 { return "\(count) B" }
        var value = Double(count) / 1024
        for unit in ["KiB", "MiB", "GiB"] {
            if value < 1024 { return "\(decimal(value, 2)) \(unit)" }
            value /= 1024
        }
        return "\(decimal(value, 2)) TiB"
    }

    /// Seconds in the units of `wg`: "2 hours, 1 minute, 5 seconds"; empty for none.
    static func duration(seconds: UInt64) -> String {
        var left = seconds
        var parts: [String] = []
        for (name, unit) in units {
            let count = left / unit
            left %= unit
            if count > 0 { parts.append("\(count) \(name)\(count == 1 ? "" : "s")") }
        }
        return parts.joined(separator: ", ")
    }

    /// How long ago a wall-clock time was, as `wg` says it.
    static func ago(seconds then: UInt64, now: UInt64) -> String {
        if then == now { return "Now" }
        if then > now { return "(the system clock went backwards)" }
        return duration(seconds: now - then) + " ago"
    }

    /// The same in one short unit for a table's column: "5 s", "3 min", "never".
    static func shortAgo(seconds then: UInt64, now: UInt64) -> String {
        guard then != 0 else { return "never" }
        guard then <= now else { return "in the future" }
        return "\(shortDuration(seconds: now - then)) ago"
    }

    /// Seconds in the largest unit that leaves at least 2: "119 s", "2 min", "47 h", "2 d".
    static func shortDuration(seconds: UInt64) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    /// A share from 0 to 1 in percent; a dash where it is not known.
    static func percent(_ share: Double?) -> String {
        guard let share else { return "-" }
        return "\(decimal(share * 100, 2)) %"
    }

    /// Bits per second in decimal units: "1.50 Mbit/s".
    static func rate(_ bitsPerSecond: UInt64) -> String {
        if bitsPerSecond < 1_000 { return "\(bitsPerSecond) bit/s" }
        return rate(Double(bitsPerSecond))
    }

    /// The same of one that was measured: finite and not negative.
    static func rate(_ bitsPerSecond: Double) -> String {
        if bitsPerSecond < 1_000 { return "\(decimal(bitsPerSecond.rounded(.down), 0)) bit/s" }
        var value = bitsPerSecond / 1_000
        for unit in ["kbit/s", "Mbit/s"] {
            if value < 1_000 { return "\(decimal(value, 2)) \(unit)" }
            value /= 1_000
        }
        return "\(decimal(value, 2)) Gbit/s"
    }

    /// A wall-clock time in UTC: "2026-11-25T17:02:00Z".
    static func time(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
    }

    /// What a stranger wrote, without characters that steer a terminal.
    static func plain(_ text: String) -> String {
        let isHarmless = text.unicodeScalars.allSatisfy { $0 == "\n" || !$0.isControl }
        if isHarmless { return text }
        var plain = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            plain.append(scalar == "\n" || !scalar.isControl ? scalar : "?")
        }
        return String(plain)
    }

    /// The same on one line.
    static func line(_ text: String) -> String { plain(text).replacing("\n", with: "?") }

    /// Seconds since 1970.
    static var now: UInt64 { UInt64(max(0, Date().timeIntervalSince1970)) }

    /// Rounded to so many places behind the point.
    static func decimal(_ value: Double, _ places: Int) -> String {
        String(format: "%.\(places)f", value)
    }

    private static let units: [(name: String, seconds: UInt64)] = [
        ("year", 31_536_000), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1),
    ]
}

/// Columns of text, each as wide as its widest entry.
struct TextTable {
    private var rows: [[String]]

    init(header: [String]) {
        rows = [header]
    }

    mutating func append(_ row: [String]) {
        rows.append(row.map { $0.replacing("\n", with: "?") })
    }

    /// All lines, without characters that steer a terminal.
    var text: String { Text.plain(lines(indentation: 0).joined(separator: "\n")) + "\n" }

    /// The lines, each after `indentation` spaces and without spaces at its end.
    func lines(indentation: Int) -> [String] {
        let columnCount = rows.map(\.count).max() ?? 0
        let widths = (0..<columnCount).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            var line = String(repeating: " ", count: indentation)
            for (column, entry) in row.enumerated() {
                let isLast = column == row.count - 1
                let padding = isLast ? 0 : widths[column] - entry.count + 2
                line += entry + String(repeating: " ", count: padding)
            }
            return line
        }
    }
}
