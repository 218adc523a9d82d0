public import PacketFormats
import Synchronization

/// What policy says of a tunnel's traffic, compiled for lookups; immutable and shared by workers.
public final class ClassRules: Sendable {
    public enum Transport: Sendable, Hashable {
        case tcp, udp, any
    }

    /// Traffic to, or from, a place.
    public struct Service: Sendable, Hashable {
        public var name: String
        public var destination: IPPrefix
        public var transport: Transport
        /// Empty: all, and with ``Transport/any`` also what has no ports.
        public var ports: [ClosedRange<UInt16>]
        /// `nil`: named only.
        public var trafficClass: TrafficClass?

        public init(
            name: String, destination: IPPrefix, transport: Transport,
            ports: [ClosedRange<UInt16>], trafficClass: TrafficClass?
        ) {
            self.name = name
            self.destination = destination
            self.transport = transport
            self.ports = ports
            self.trafficClass = trafficClass
        }
    }

    public let isClassifying: Bool
    public let readsUsage: Bool
    public let services: [Service]
    public let believedMarks: [DSCP: TrafficClass]

    /// Tells these rules from all others: what a flow remembers of older ones is looked up again.
    let number: UInt32
    let marks: MarkedClasses
    private let lookup: ServiceLookup
    /// For each service, what its name is known by in measures, and its class.
    private let outcomes: [ServiceOutcome]

    /// - Parameter services: The first that matches counts.
    /// - Complexity: O(n log n) in the number of services and their ranges of ports.
    public init(
        isClassifying: Bool = true, readsUsage: Bool = false, services: [Service] = [],
        believedMarks: [DSCP: TrafficClass] = [:]
    ) {
        self.isClassifying = isClassifying
        self.readsUsage = readsUsage
        self.services = services
        self.believedMarks = believedMarks
        number = Self.numbers.add(1, ordering: .relaxed).newValue
        marks = MarkedClasses(believedMarks)
        lookup = ServiceLookup(services)
        outcomes = services.map {
            ServiceOutcome(
                nameHash: ServiceOutcome.hash(of: $0.name), trafficClass: $0.trafficClass)
        }
    }

    /// The same rules for another worker, which has its reference counts to itself; what took time
    /// to make is shared.
    ///
    /// - Complexity: O(1).
    public init(sharing rules: ClassRules) {
        isClassifying = rules.isClassifying
        readsUsage = rules.readsUsage
        services = rules.services
        believedMarks = rules.believedMarks
        number = rules.number
        marks = rules.marks
        lookup = rules.lookup
        outcomes = rules.outcomes
    }

    private static let numbers = Atomic<UInt32>(0)
}

/// What matching a service means for a flow.
struct ServiceOutcome: Sendable {
    /// Of the service's name; 0: no service.
    var nameHash: UInt64
    /// `nil`: what packets show decides.
    var trafficClass: TrafficClass?

    static let none = ServiceOutcome(nameHash: 0, trafficClass: nil)

    /// FNV-1a: it outlives the rules, so that what was measured keeps its name when they change.
    static func hash(of name: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return max(hash, 1)
    }
}

extension ClassRules {
    /// The first service that either end of a flow is part of.
    ///
    /// - Complexity: O(log ports) for each network that encloses an end, however many services
    ///   there are.
    func service(of key: FlowKey) -> ServiceOutcome {
        guard !outcomes.isEmpty else { return .none }
        let local = lookup.first(
            high: key.localHigh, low: key.localLow, isIPv4: key.isIPv4, key.protocolNumber,
            port: key.localPort)
        let remote = lookup.first(
            high: key.remoteHigh, low: key.remoteLow, isIPv4: key.isIPv4, key.protocolNumber,
            port: key.remotePort)
        let first = min(local, remote)
        return first == ServiceLookup.none ? .none : outcomes[Int(first)]
    }

    /// The name of a service that was known by this hash. For control paths.
    func serviceName(_ hash: UInt64) -> String? {
        guard hash != 0, let index = outcomes.firstIndex(where: { $0.nameHash == hash })
        else { return nil }
        return services[index].name
    }
}

/// The class that each DSCP asks for, as bits: a class is three bits wide.
struct MarkedClasses: Sendable {
    private var believed: UInt64 = 0
    private var first: UInt64 = 0
    private var second: UInt64 = 0
    private var third: UInt64 = 0

    init(_ classes: [DSCP: TrafficClass]) {
        for (mark, trafficClass) in classes {
            let bit = UInt64(1) << UInt64(mark.rawValue)
            believed |= bit
            if trafficClass.rawValue & 1 != 0 { first |= bit }
            if trafficClass.rawValue & 2 != 0 { second |= bit }
            if trafficClass.rawValue & 4 != 0 { third |= bit }
        }
    }

    var isEmpty: Bool { believed == 0 }

    @inline(__always)
    func trafficClass(_ mark: DSCP) -> TrafficClass? {
        let shift = UInt64(mark.rawValue)
        guard believed >> shift & 1 != 0 else { return nil }
        let value = first >> shift & 1 | (second >> shift & 1) << 1 | (third >> shift & 1) << 2
        return TrafficClass(rawValue: UInt8(truncatingIfNeeded: value))
    }
}
