import PacketFormats

/// Which service a place belongs to: address to network, and port to the first service of the
/// network, or of those that enclose it.
struct ServiceLookup: Sendable {
    /// What lookups return for a place of no service: more than the number of any.
    static let none = UInt32.max

    private let ipv4: IntervalTree
    private let ipv6: IntervalTree
    private let networks: [Network]

    /// The services whose destination is exactly this network.
    private struct Network: Sendable {
        /// The next wider network that services name; -1: none.
        var enclosing: Int32
        var tcp: PortServices
        var udp: PortServices
        /// The first service of any protocol.
        var other: UInt32
    }

    init(_ services: [ClassRules.Service]) {
        var members: [IPPrefix: [UInt32]] = [:]
        for (index, service) in services.enumerated() {
            members[service.destination, default: []].append(UInt32(index))
        }
        var networks: [Network] = []
        var owners: [IPPrefix: Int32] = [:]
        // Enclosing networks come first: sorted by address, then by length.
        var enclosing: [(prefix: IPPrefix, number: Int32)] = []
        for prefix in members.keys.sorted() {
            while let outer = enclosing.last, !outer.prefix.holds(prefix) {
                enclosing.removeLast()
            }
            let number = Int32(networks.count)
            let indices = members[prefix, default: []]
            networks.append(
                Network(
                    enclosing: enclosing.last?.number ?? -1,
                    tcp: PortServices(indices, of: services, .tcp),
                    udp: PortServices(indices, of: services, .udp),
                    other: indices.first {
                        services[Int($0)].transport == .any && services[Int($0)].ports.isEmpty
                    } ?? Self.none))
            owners[prefix] = number
            enclosing.append((prefix, number))
        }
        self.networks = networks
        ipv4 = IntervalTree(owners, isIPv4: true)
        ipv6 = IntervalTree(owners, isIPv4: false)
    }

    /// - Returns: The first service's index; ``none`` if there is none.
    func first(
        high: UInt64, low: UInt64, isIPv4: Bool, _ protocolNumber: UInt8, port: UInt16
    ) -> UInt32 {
        var number = isIPv4
            ? ipv4.lookup(narrow: UInt32(truncatingIfNeeded: low))
            : ipv6.lookup(wide: UInt128(high) << 64 | UInt128(low))
        var first = Self.none
        while number >= 0 {
            let network = networks[Int(number)]
            switch protocolNumber {
            case IPProtocol.tcp: first = min(first, network.tcp.first(of: port))
            case IPProtocol.udp: first = min(first, network.udp.first(of: port))
            default: first = min(first, network.other)
            }
            number = network.enclosing
        }
        return first
    }
}

/// The first service of each port, as intervals.
private struct PortServices: Sendable {
    /// Ascending; an interval lasts until the next one's start.
    private var starts: [UInt16] = [0]
    private var services: [UInt32] = [ServiceLookup.none]

    /// - Parameter indices: Ascending.
    init(
        _ indices: [UInt32], of all: [ClassRules.Service], _ transport: ClassRules.Transport
    ) {
        var ranges: [PortRange] = []
        for index in indices {
            let service = all[Int(index)]
            guard service.transport == transport || service.transport == .any else { continue }
            ranges += Self.merged(service.ports.isEmpty ? [0...UInt16.max] : service.ports, index)
        }
        ranges.sort { $0.start < $1.start }
        // The ranges that the sweep is in, and some that it has left: they go when they are first.
        var active = FirstServices()
        var next = 0
        var port = 0
        while port <= Int(UInt16.max) {
            while next < ranges.count, ranges[next].start <= port {
                active.insert(ranges[next])
                next += 1
            }
            while let first = active.first, first.end <= port { active.removeFirst() }
            let first = active.first
            begin(UInt16(port), first?.service ?? ServiceLookup.none)
            port = min(
                first?.end ?? Int.max, next < ranges.count ? ranges[next].start : Int.max)
        }
    }

    /// A service's ranges, ascending and apart.
    private static func merged(
        _ ports: [ClosedRange<UInt16>], _ service: UInt32
    ) -> [PortRange] {
        var merged: [PortRange] = []
        for range in ports.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            let (start, end) = (Int(range.lowerBound), Int(range.upperBound) + 1)
            if let last = merged.last, start <= last.end {
                merged[merged.count - 1].end = max(last.end, end)
            } else {
                merged.append(PortRange(service: service, start: start, end: end))
            }
        }
        return merged
    }

    private mutating func begin(_ port: UInt16, _ service: UInt32) {
        if starts[starts.count - 1] == port {
            services[services.count - 1] = service
        } else if services[services.count - 1] != service {
            starts.append(port)
            services.append(service)
        }
    }

    func first(of port: UInt16) -> UInt32 {
        var low = 0
        var high = starts.count
        // Invariant: starts[low] <= port < starts[high].
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= port { low = middle } else { high = middle }
        }
        return services[low]
    }
}

private struct PortRange {
    var service: UInt32
    var start: Int
    /// Behind the last port.
    var end: Int
}

/// Ranges, that of the first service in front: a binary heap.
private struct FirstServices {
    private var ranges: [PortRange] = []

    var first: PortRange? { ranges.first }

    mutating func insert(_ range: PortRange) {
        var place = ranges.count
        ranges.append(range)
        while place > 0 {
            let parent = (place - 1) / 2
            guard ranges[place].service < ranges[parent].service else { return }
            ranges.swapAt(place, parent)
            place = parent
        }
    }

    mutating func removeFirst() {
        ranges.swapAt(0, ranges.count - 1)
        ranges.removeLast()
        var place = 0
        while place * 2 + 1 < ranges.count {
            var child = place * 2 + 1
            if child + 1 < ranges.count, ranges[child + 1].service < ranges[child].service {
                child += 1
            }
            guard ranges[child].service < ranges[place].service else { return }
            ranges.swapAt(place, child)
            place = child
        }
    }
}
