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
        var changes: [(port: Int, index: UInt32, begins: Bool)] = []
        for index in indices {
            let service = all[Int(index)]
            guard service.transport == transport || service.transport == .any else { continue }
            for range in service.ports.isEmpty ? [0...UInt16.max] : service.ports {
                changes.append((Int(range.lowerBound), index, true))
                changes.append((Int(range.upperBound) + 1, index, false))
            }
        }
        changes.sort { $0.port < $1.port }
        // Those whose ranges the sweep is in, ascending; one that has two is in it twice.
        var active: [UInt32] = []
        for change in changes {
            let place = active.firstIndex { $0 >= change.index } ?? active.count
            if change.begins {
                active.insert(change.index, at: place)
            } else {
                active.remove(at: place)
            }
            guard change.port <= Int(UInt16.max) else { continue }
            begin(UInt16(change.port), active.first ?? ServiceLookup.none)
        }
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
