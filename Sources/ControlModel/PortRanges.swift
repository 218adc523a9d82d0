/// Ports of a policy's rule: texts such as `443` and `8000-8100`.
enum PortRanges {
    /// - Returns: `nil` unless it is one port from 1 to 65535, or two in order.
    static func range(_ text: String) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", maxSplits: 2, omittingEmptySubsequences: false)
        guard ends.count <= 2, let first = ends.first.flatMap(port),
            let last = ends.last.flatMap(port), first <= last
        else { return nil }
        return first...last
    }

    /// The same ports as ascending ranges with a gap between any two.
    static func merged(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
        var merged: [ClosedRange<UInt16>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard let last = merged.last,
                UInt32(range.lowerBound) <= UInt32(last.upperBound) + 1
            else {
                merged.append(range)
                continue
            }
            merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
        }
        return merged
    }

    /// Whether every port from 1 to 65535 is in one of the ranges.
    static func coverAll(_ ranges: [ClosedRange<UInt16>]) -> Bool {
        var next: UInt32 = 1
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard UInt32(range.lowerBound) <= next else { return false }
            next = max(next, UInt32(range.upperBound) + 1)
        }
        return next > UInt32(UInt16.max)
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard (1...5).contains(text.utf8.count), text.utf8.first != UInt8(ascii: "0"),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return UInt16(text)
    }
}
