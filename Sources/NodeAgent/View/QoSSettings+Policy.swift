public import ControlModel
import Cryptography
import PacketFormats
public import WireGuardConfiguration

extension QoSSettings {
    /// What a coordinator's policy and a local file say together, without names and grants.
    ///
    /// The coordinator's word counts where both say something, and its services come first. What
    /// is about this side's line is the other way round: `link`, `peers` and how the outer header
    /// is marked. Usage records are read only where nobody is against it. What a policy has that
    /// this version does not understand is left out, each part by itself.
    public init(policy: QoSPolicy?, local: QoSPolicy?) {
        self.init()
        let both = [policy, local].compactMap(\.self)
        let nearest = [local, policy].compactMap(\.self)
        func first<Value>(_ member: (QoSPolicy) -> Value?) -> Value? {
            both.lazy.compactMap(member).first
        }
        isClassifying = first(\.classify) ?? true
        let readers = both.compactMap(\.readUsage)
        readsUsage = !readers.isEmpty && !readers.contains(false)
        services = Self.possible(
            both.flatMap { $0.services.prefix(PolicyLimits.servicesMax) }
                .compactMap(Service.init))
        for policy in both.reversed() {
            believedMarks.merge(policy.believedMarks) { _, new in new }
            weights.merge(policy.knownWeights) { _, new in new }
        }
        priorityPercent = first {
            $0.priorityPercent.within(PolicyLimits.priorityPercents)
        } ?? priorityPercent
        activationDeadlineMicroseconds = first {
            $0.activationDeadlineMs.within(PolicyLimits.deadlineMilliseconds)
        }.map { $0 * 1_000 } ?? activationDeadlineMicroseconds
        budget = first { $0.budget.flatMap(Budget.init) }
        marksInner = first { $0.marking?.inner } ?? false
        outerMarking = nearest.lazy.compactMap { policy in
            policy.marking?.outer.flatMap { OuterMarking(rawValue: $0) }
        }.first ?? .off
        for policy in nearest.reversed() {
            classMarks.merge(policy.marking?.marks ?? [:]) { _, new in new }
        }
        link = local?.link.flatMap {
            Link(rate: $0.rate, minimum: $0.minimumRate, overheadBytes: $0.overheadBytes)
        }
        for (key, peer) in (local?.peers ?? [:]) {
            guard let key = PublicKey(base64: key) else { continue }
            peers[key] = Peer(peer)
        }
    }
}

extension QoSSettings {
    /// The first services, as many as a tunnel takes of a policy and a local file together.
    private static func possible(_ services: [Service]) -> [Service] {
        var rangeCount = 0
        return Array(
            services.prefix(servicesMax).prefix { service in
                rangeCount += service.ports.count
                return rangeCount <= servicePortRangesMax
            })
    }
}

extension QoSSettings.Link {
    /// - Returns: `nil` for no rate of a line.
    init?(rate: Int64?, minimum: Int64? = nil, overheadBytes: Int?) {
        guard let rate = rate.within(PolicyLimits.linkRates) else { return nil }
        self.init(
            bitsPerSecond: rate,
            overheadBytes: overheadBytes.within(PolicyLimits.overheadBytes)
                ?? Self.ethernetOverheadBytes,
            minimumBitsPerSecond: minimum.within(PolicyLimits.linkRates)
                .flatMap { $0 < rate ? $0 : nil })
    }

    private static var ethernetOverheadBytes: Int { 14 }
}

extension QoSSettings.Service {
    fileprivate init?(_ service: QoSPolicy.Service) {
        var alone = QoSPolicy()
        alone.services = [service]
        guard alone.faults().isEmpty, let destination = IPPrefix(service.destination),
            let transport = Transport(rawValue: service.transport)
        else { return nil }
        self.init(
            name: service.name, destination: destination, transport: transport,
            ports: service.portRanges,
            trafficClass: service.trafficClass.flatMap(ClassCeiling.init)?.trafficClass)
    }
}

extension QoSSettings.Budget {
    fileprivate init?(_ budget: QoSPolicy.Budget) {
        let amounts = 1...TrustLimits.integerMax
        let bytes = budget.bytes.within(amounts), tokens = budget.tokens.within(amounts)
        guard bytes != nil || tokens != nil else { return nil }
        self.init(bytes: bytes, tokens: tokens)
        perSeconds = budget.perSeconds.within(PolicyLimits.budgetSeconds) ?? perSeconds
    }
}

extension QoSSettings.Peer {
    fileprivate init(_ peer: QoSPolicy.Peer) {
        self.init(
            link: QoSSettings.Link(rate: peer.rate, overheadBytes: peer.overheadBytes),
            ceiling: peer.ceiling.flatMap { ClassCeiling(rawValue: $0) }?.trafficClass,
            outerMarking: peer.outer.flatMap { QoSSettings.OuterMarking(rawValue: $0) })
    }
}

extension QoSPolicy {
    fileprivate var believedMarks: [DSCP: TrafficClass] {
        var marks: [DSCP: TrafficClass] = [:]
        for (name, className) in believe ?? [:] {
            guard let mark = DSCP(name: name), mark != .df,
                let ceiling = ClassCeiling(rawValue: className)
            else { continue }
            marks[mark] = ceiling.trafficClass
        }
        return marks
    }

    fileprivate var knownWeights: [TrafficClass: Int] {
        var known: [TrafficClass: Int] = [:]
        for (name, weight) in weights {
            guard let ceiling = ClassCeiling(rawValue: name), ceiling != .background,
                (1...PolicyLimits.weightMax).contains(weight)
            else { continue }
            known[ceiling.trafficClass] = weight
        }
        return known
    }
}

extension QoSPolicy.Marking {
    fileprivate var marks: [TrafficClass: DSCP] {
        var marks: [TrafficClass: DSCP] = [:]
        for (name, text) in classes ?? [:] {
            guard let trafficClass = TrafficClass(name: name), let mark = DSCP(name: text) else {
                continue
            }
            marks[trafficClass] = mark
        }
        return marks
    }
}

extension Optional where Wrapped: Comparable {
    /// The value, if it is in `range`.
    fileprivate func within(_ range: ClosedRange<Wrapped>) -> Wrapped? {
        flatMap { range.contains($0) ? $0 : nil }
    }
}
