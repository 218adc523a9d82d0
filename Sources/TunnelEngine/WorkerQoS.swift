import EgressScheduling
import InferenceTraffic
import PacketFormats
import WireGuardConfiguration
import WireGuardProtocol

/// One tunnel's ``QoSSettings`` as a worker goes by them.
///
/// Each worker has an instance of its own, so that no two write to the same reference counts; only
/// the budget is shared, as it has to be.
final class WorkerQoS: Sendable {
    let rules: ClassRules
    let classes: ClassPolicy
    /// The best class that frames of this side may have.
    let ceiling: TrafficClass
    /// The best class that any peer's traffic may have.
    let peersCeiling: TrafficClass
    let marking: MarkingRules
    /// Of peers that are marked otherwise.
    private let markingOff: MarkingRules
    private let markingByClass: MarkingRules
    private let markingCopied: MarkingRules
    let budget: TenantBudget?

    convenience init(_ settings: QoSSettings = QoSSettings(), budget: TenantBudget? = nil) {
        self.init(settings, rules: ClassRules(settings), budget: budget)
    }

    /// - Parameter rules: Of these settings, and of this worker alone.
    private init(_ settings: QoSSettings, rules: ClassRules, budget: TenantBudget?) {
        self.rules = rules
        classes = ClassPolicy(settings)
        ceiling = settings.ceiling ?? PeerQoS.noCeiling
        peersCeiling = settings.peersCeiling ?? PeerQoS.noCeiling
        marking = MarkingRules(settings, outer: settings.outerMarking)
        markingOff = MarkingRules(settings, outer: .off)
        markingByClass = MarkingRules(settings, outer: .byClass)
        markingCopied = MarkingRules(settings, outer: .copy)
        self.budget = budget
    }

    /// One for each of some workers. The rules are made once: with many services that takes longer
    /// than all the rest.
    static func forWorkers(
        _ count: Int, _ settings: QoSSettings, budget: TenantBudget?
    ) -> [WorkerQoS] {
        let rules = ClassRules(settings)
        return (0..<count).map { _ in
            WorkerQoS(settings, rules: ClassRules(sharing: rules), budget: budget)
        }
    }

    /// How packets to a peer are marked.
    func marking(_ peer: PeerQoS) -> MarkingRules {
        switch peer.marking {
        case nil: marking
        case .off: markingOff
        case .byClass: markingByClass
        case .copy: markingCopied
        }
    }
}

/// What a worker knows of one peer's settings.
struct PeerQoS: Sendable, Hashable {
    /// Of its own; `nil` where its frames have none but the common one.
    var line: WorkerLine?
    /// The best class that its traffic may have, within that of all peers.
    var ceiling = Self.noCeiling
    /// `nil`: as the tunnel's.
    var marking: QoSSettings.OuterMarking?

    init() {}

    /// - Parameter parts: Workers that share the line, where none gets all of its packets.
    init(_ settings: QoSSettings.Peer, parts: Int) {
        line = settings.link.map { WorkerLine($0, parts: parts) }
        ceiling = settings.ceiling ?? Self.noCeiling
        marking = settings.outerMarking
    }

    static var noCeiling: TrafficClass { .control }
}

/// A line as the scheduler and those who count its bytes need it.
struct WorkerLine: Sendable, Hashable {
    let shape: LinkShape
    /// What the line adds to each outer packet, in bytes.
    let overheadBytes: Int

    /// - Parameter parts: Workers that share it, where none gets all of its packets.
    init(_ link: QoSSettings.Link, parts: Int = 1) {
        shape = LinkShape(
            line: link.bitsPerSecond, share: QoSSettings.Link.shapedShare / Double(parts))
        overheadBytes = link.overheadBytes
    }
}

extension ClassPolicy {
    fileprivate init(_ settings: QoSSettings) {
        self.init(
            weights: settings.weights, priorityPercent: settings.priorityPercent,
            activationDeadlineNanoseconds: UInt64(
                max(settings.activationDeadlineMicroseconds, 0)) * 1_000)
    }
}

extension MarkingRules {
    fileprivate init(_ settings: QoSSettings, outer: QoSSettings.OuterMarking) {
        self.init(
            outer: Outer(outer), classMarks: settings.classMarks, marksInner: settings.marksInner,
            believedMarks: settings.believedMarks)
    }
}

extension MarkingRules.Outer {
    fileprivate init(_ marking: QoSSettings.OuterMarking) {
        switch marking {
        case .off: self = .off
        case .byClass: self = .byClass
        case .copy: self = .copy
        }
    }
}

extension ClassRules {
    fileprivate convenience init(_ settings: QoSSettings) {
        self.init(
            isClassifying: settings.isClassifying, readsUsage: settings.readsUsage,
            services: settings.services.map { service in
                Service(
                    name: service.name, destination: service.destination,
                    transport: Transport(service.transport), ports: service.ports,
                    trafficClass: service.trafficClass)
            },
            believedMarks: settings.believedMarks)
    }
}

extension ClassRules.Transport {
    fileprivate init(_ transport: QoSSettings.Service.Transport) {
        switch transport {
        case .tcp: self = .tcp
        case .udp: self = .udp
        case .any: self = .any
        }
    }
}
