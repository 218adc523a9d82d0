/// Where an interval begins, and who owns it up to the next one.
struct IntervalStart: Equatable {
    var address: UInt128
    var owner: Int32
}

extension IntervalStart {
    /// The intervals of one family: ascending, the first at address 0, no two neighbours with the
    /// same owner.
    static func all(of prefixes: [IPPrefix: Int32], isIPv4: Bool) -> [IntervalStart] {
        let width = isIPv4 ? 32 : 128
        var spans: [(first: UInt128, last: UInt128, owner: Int32)] = []
        for (prefix, owner) in prefixes where prefix.address.isIPv4 == isIPv4 {
            let first = UInt128(prefix.address.high) << 64 | UInt128(prefix.address.low)
            let hostBits = width - prefix.length
            let hostMask = hostBits == 128 ? UInt128.max : (UInt128(1) << UInt128(hostBits)) - 1
            spans.append((first, first | hostMask, owner))
        }
        // Enclosing prefixes first: of two that begin together the longer-reaching one encloses.
        spans.sort { $0.first != $1.first ? $0.first < $1.first : $0.last > $1.last }

        var starts = [IntervalStart(address: 0, owner: IntervalTree.none)]
        var enclosing: [(last: UInt128, owner: Int32)] = []
        func begin(_ address: UInt128, _ owner: Int32) {
            if starts[starts.count - 1].address == address {
                starts[starts.count - 1].owner = owner
            } else {
                starts.append(IntervalStart(address: address, owner: owner))
            }
        }
        func close(before address: UInt128?) {
            while let innermost = enclosing.last, address.map({ innermost.last < $0 }) ?? true {
                enclosing.removeLast()
                let highest = isIPv4 ? UInt128(UInt32.max) : UInt128.max
                guard innermost.last < highest else { continue }
                begin(innermost.last + 1, enclosing.last?.owner ?? IntervalTree.none)
            }
        }
        for span in spans {
            close(before: span.first)
            begin(span.first, span.owner)
            enclosing.append((span.last, span.owner))
        }
        close(before: nil)
        return merged(starts)
    }

    private static func merged(_ starts: [IntervalStart]) -> [IntervalStart] {
        var result: [IntervalStart] = []
        for start in starts where result.last?.owner != start.owner { result.append(start) }
        return result
    }
}
