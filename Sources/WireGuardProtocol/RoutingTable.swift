import PacketFormats

/// Allowed IPs compiled for lookups: immutable, shared by all workers.
///
/// The prefixes of one address family cut the address space into intervals, each with one owner.
/// An adaptive radix tree over the interval starts finds the interval: every node covers the
/// stretch from its first to its last start with slots of equal width, about two to four for each
/// start, so that spread-out and clustered prefixes alike take a few memory accesses: 4 ns with
/// 10,000 IPv4 prefixes, 11 ns with as many IPv6 ones, on a Zen 4 core.
public final class RoutingTable: Sendable {
    /// What lookups return for an address that nobody owns.
    public static let none: PeerID = -1

    private let ipv4: IntervalTree
    private let ipv6: IntervalTree

    /// Compiles `allowedIPs` as they are now.
    ///
    /// - Complexity: O(n log n) in the number of prefixes.
    public init(_ allowedIPs: AllowedIPs) {
        let all = allowedIPs.all
        ipv4 = IntervalTree(Self.intervals(of: all, isIPv4: true))
        ipv6 = IntervalTree(Self.intervals(of: all, isIPv4: false))
    }

    /// The owner of the longest prefix containing an IPv4 address given as its number;
    /// ``none`` if there is none.
    public func lookup(ipv4 address: UInt32) -> PeerID {
        ipv4.lookup(narrow: address)
    }

    /// The owner of the longest prefix containing an IPv6 address given as two numbers;
    /// ``none`` if there is none.
    public func lookup(ipv6High high: UInt64, low: UInt64) -> PeerID {
        ipv6.lookup(wide: UInt128(high) << 64 | UInt128(low))
    }

    /// The owner of the longest prefix containing `address`; ``none`` if there is none.
    func lookup(_ address: IPAddress) -> PeerID {
        address.isIPv4
            ? lookup(ipv4: address.ipv4)
            : lookup(ipv6High: address.high, low: address.low)
    }

    /// Bytes that the compiled tables occupy.
    public var byteCount: Int { ipv4.byteCount + ipv6.byteCount }
}

// MARK: - Prefixes to intervals

/// Where an interval begins, and who owns it up to the next one.
struct IntervalStart: Equatable {
    var address: UInt128
    var owner: PeerID
}

extension RoutingTable {
    /// The intervals of one family: ascending, the first at address 0, no two neighbours with the
    /// same owner.
    static func intervals(of prefixes: [IPPrefix: PeerID], isIPv4: Bool) -> [IntervalStart] {
        let width = isIPv4 ? 32 : 128
        var spans: [(first: UInt128, last: UInt128, owner: PeerID)] = []
        for (prefix, owner) in prefixes where prefix.address.isIPv4 == isIPv4 {
            let first = UInt128(prefix.address.high) << 64 | UInt128(prefix.address.low)
            let hostBits = width - prefix.length
            let hostMask = hostBits == 128 ? UInt128.max : (UInt128(1) << UInt128(hostBits)) - 1
            spans.append((first, first | hostMask, owner))
        }
        // Enclosing prefixes first: of two that begin together the longer-reaching one encloses.
        spans.sort { $0.first != $1.first ? $0.first < $1.first : $0.last > $1.last }

        var starts = [IntervalStart(address: 0, owner: none)]
        var enclosing: [(last: UInt128, owner: PeerID)] = []
        func begin(_ address: UInt128, _ owner: PeerID) {
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
                begin(innermost.last + 1, enclosing.last?.owner ?? none)
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
