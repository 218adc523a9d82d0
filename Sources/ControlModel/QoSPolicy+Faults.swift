import Cryptography
import PacketFormats

extension QoSPolicy {
    /// Who reads the policy, and so what may be in it.
    public enum Source: Hashable, Sendable {
        case coordinator, localFile
    }

    /// What is wrong with the policy, one text for each fault; empty where nothing is.
    ///
    /// A policy that contradicts itself is wrong: whichever half a node would follow, somebody
    /// meant the other.
    public func faults(of source: Source = .coordinator) -> [String] {
        guard services.count <= PolicyLimits.servicesMax else {
            return ["at most \(PolicyLimits.servicesMax) services"]
        }
        guard services.reduce(0, { $0 + $1.ports.count }) <= PolicyLimits.servicePortsMax else {
            return ["at most \(PolicyLimits.servicePortsMax) port ranges in all services together"]
        }
        guard max(links?.count ?? 0, peers?.count ?? 0) <= PolicyLimits.linksMax else {
            return ["at most \(PolicyLimits.linksMax) links and peers"]
        }
        var faults = PolicyFaults()
        checkServices(&faults)
        checkWeights(&faults)
        checkTenantRates(&faults)
        let believed = checkBelief(&faults)
        checkMarking(believed, &faults)
        checkBudget(&faults)
        checkLinks(&faults)
        checkLocal(source, &faults)
        return faults.texts
    }

    // MARK: - Services

    private func checkServices(_ faults: inout PolicyFaults) {
        let before = faults.texts.count
        for (index, service) in services.enumerated() {
            let what = "service \(index + 1)"
            faults.checkName(service.name, what)
            if IPPrefix(service.destination) == nil {
                faults.add(what, "its destination is no network such as 10.0.0.0/8")
            }
            if service.transport == "icmp" {
                faults.add(what, "the transport is tcp, udp or *")
            } else {
                faults.checkTransport(service.transport, service.ports, what)
            }
            if let name = service.trafficClass { faults.checkClass(name, what) }
        }
        if faults.texts.count == before { checkOverlap(&faults) }
    }

    /// The first service that matches counts, so a later one within it says what nobody follows.
    private func checkOverlap(_ faults: inout PolicyFaults) {
        let matches = services.map(ServiceMatch.init)
        var named: [String: Int] = [:]
        for (index, service) in services.enumerated() {
            let what = "service \(index + 1)"
            if let first = named[service.name],
                services[first].trafficClass != service.trafficClass
            {
                faults.add(
                    what,
                    "\(Refusal.excerpt(of: service.name)) is \(Self.words(services[first])) in "
                        + "service \(first + 1), and \(Self.words(service)) here")
                continue
            }
            named[service.name] = named[service.name] ?? index
            let cover = (0..<index).first { earlier in
                services[earlier].trafficClass != service.trafficClass
                    && matches[earlier].covers(matches[index])
            }
            if let cover {
                faults.add(
                    what,
                    "service \(cover + 1) is \(Self.words(services[cover])) and has all of it; "
                        + "put the narrower one first")
            }
        }
    }

    private static func words(_ service: Service) -> String {
        service.trafficClass ?? "of no class"
    }

    // MARK: - Shares and rates

    private func checkWeights(_ faults: inout PolicyFaults) {
        for (name, weight) in weights.sorted(by: { $0.key < $1.key }) {
            if name == TrafficClass.control.name {
                faults.add("weights", "control goes before all others, and has no weight")
            } else if faults.checkClass(name, "weights") == .background {
                faults.add("weights", "background has what is left, and no weight")
            }
            if !(1...PolicyLimits.weightMax).contains(weight) {
                faults.add("weights", "a weight is 1 to \(PolicyLimits.weightMax)")
            }
        }
        if let priorityPercent, !PolicyLimits.priorityPercents.contains(priorityPercent) {
            let range = PolicyLimits.priorityPercents
            faults.add(
                "priority_percent",
                "it is \(range.lowerBound) to \(range.upperBound), so that something is left for "
                    + "the other classes")
        }
        if let deadline = activationDeadlineMs,
            !PolicyLimits.deadlineMilliseconds.contains(deadline)
        {
            let range = PolicyLimits.deadlineMilliseconds
            faults.add(
                "activation_deadline_ms", "it is \(range.lowerBound) to \(range.upperBound)")
        }
    }

    private func checkTenantRates(_ faults: inout PolicyFaults) {
        for rate in [minimumRate, maximumRate].compactMap(\.self)
        where !(1...PolicyLimits.rateMax).contains(rate) {
            faults.add("rates", "a rate is 1 to \(PolicyLimits.rateMax) bits per second")
        }
        if let minimumRate, let maximumRate, minimumRate > maximumRate {
            faults.add("rates", "the minimum is above the maximum")
        }
        if let minimumRate, let link, minimumRate > link.rate {
            faults.add("rates", "the minimum is above the rate of the link")
        }
    }

    private func checkBudget(_ faults: inout PolicyFaults) {
        guard let budget else { return }
        if budget.bytes == nil && budget.tokens == nil {
            faults.add("budget", "it limits neither bytes nor tokens")
        }
        for (name, amount) in [("bytes", budget.bytes), ("tokens", budget.tokens)] {
            if let amount, !(1...TrustLimits.integerMax).contains(amount) {
                faults.add("budget", "\(name) is 1 to \(TrustLimits.integerMax)")
            }
        }
        if let seconds = budget.perSeconds, !PolicyLimits.budgetSeconds.contains(seconds) {
            faults.add(
                "budget", "per_seconds is 1 to \(PolicyLimits.budgetSeconds.upperBound), a year")
        }
    }

    // MARK: - Marks

    /// - Returns: What is believed, as far as it is sound.
    private func checkBelief(_ faults: inout PolicyFaults) -> [DSCP: ClassCeiling] {
        var believed: [DSCP: ClassCeiling] = [:]
        for (name, className) in (believe ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let mark = faults.checkDSCP(name, "believe"),
                let trafficClass = faults.checkClass(className, "believe")
            else { continue }
            if mark == .df {
                faults.add("believe", "DF is on every packet that nobody has marked")
            } else if believed.updateValue(trafficClass, forKey: mark) != nil {
                faults.add("believe", "\(mark.name) is there twice")
            }
        }
        return believed
    }

    private func checkMarking(
        _ believed: [DSCP: ClassCeiling], _ faults: inout PolicyFaults
    ) {
        guard let marking else { return }
        if let outer = marking.outer { faults.checkOuter(outer, "marking") }
        var marks = Self.standardMarks
        for (name, text) in (marking.classes ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let trafficClass = TrafficClass(name: name) else {
                faults.add(
                    "marking", "there is no traffic class \(Refusal.excerpt(of: name))")
                continue
            }
            if let mark = faults.checkDSCP(text, "marking") { marks[trafficClass] = mark }
        }
        var taken: [DSCP: TrafficClass] = [:]
        for trafficClass in TrafficClass.allCases {
            // Without a mark, classes may be alike.
            guard let mark = marks[trafficClass], mark != .df else { continue }
            if let other = taken.updateValue(trafficClass, forKey: mark) {
                faults.add(
                    "marking",
                    "\(other.name) and \(trafficClass.name) would both have \(mark.name)")
            }
            let belief = believed[mark]?.trafficClass
            if marking.inner == true, let belief, belief != trafficClass {
                faults.add(
                    "marking",
                    "\(mark.name) is written for \(trafficClass.name), and believed to be "
                        + "\(belief.name)")
            }
        }
    }

    /// Those of a managed network, which apply where the policy names no others.
    static var standardMarks: [TrafficClass: DSCP] {
        [
            .control: .cs6, .token: .af21, .activation: .af31, .prompt: .af11, .bulk: .af12,
            .background: .le,
        ]
    }

    // MARK: - Lines

    private func checkLinks(_ faults: inout PolicyFaults) {
        for (name, line) in (links ?? [:]).sorted(by: { $0.key < $1.key }) {
            let what = "link of \(Refusal.excerpt(of: name))"
            if !NodeName.isValid(name) {
                faults.add(what, "a node's name is 1 to 63 letters, digits, hyphens and points")
            }
            if line.uplinkRate == nil && line.downlinkRate == nil {
                faults.add(what, "it says neither uplink_rate nor downlink_rate")
            }
            if let rate = line.uplinkRate { faults.checkLinkRate(rate, "uplink_rate", what) }
            if let rate = line.downlinkRate { faults.checkLinkRate(rate, "downlink_rate", what) }
            faults.checkMinimum(
                line.uplinkMinimumRate, "uplink_minimum_rate", line.uplinkRate, "uplink_rate", what)
            faults.checkOverhead(line.overheadBytes, what)
        }
    }

    private func checkLocal(_ source: Source, _ faults: inout PolicyFaults) {
        if source == .coordinator {
            if link != nil {
                faults.add("link", "only a node's own file has it; \"links\" is by node")
            }
            if peers != nil {
                faults.add("peers", "only a node's own file has them; \"links\" is by node")
            }
            return
        }
        if let link {
            faults.checkLinkRate(link.rate, "rate", "link")
            faults.checkMinimum(link.minimumRate, "minimum_rate", link.rate, "rate", "link")
            faults.checkOverhead(link.overheadBytes, "link")
        }
        for (key, peer) in (peers ?? [:]).sorted(by: { $0.key < $1.key }) {
            let what = "peer \(Refusal.excerpt(of: key))"
            if PublicKey(base64: key) == nil { faults.add(what, "it is no public key in base64") }
            if peer == Peer() { faults.add(what, "nothing is said of it") }
            if let rate = peer.rate { faults.checkLinkRate(rate, "rate", what) }
            if peer.rate == nil, peer.overheadBytes != nil {
                faults.add(what, "overhead_bytes without a rate changes nothing")
            }
            faults.checkOverhead(peer.overheadBytes, what)
            if let outer = peer.outer { faults.checkOuter(outer, what) }
            if let ceiling = peer.ceiling { faults.checkClass(ceiling, what) }
        }
    }
}

extension PolicyFaults {
    fileprivate mutating func checkLinkRate(_ rate: Int64, _ name: String, _ what: String) {
        let range = PolicyLimits.linkRates
        if !range.contains(rate) {
            add(
                what,
                "\(name) is \(range.lowerBound) to \(range.upperBound) bits per second")
        }
    }

    /// A rate that is followed needs room to move.
    fileprivate mutating func checkMinimum(
        _ minimum: Int64?, _ name: String, _ rate: Int64?, _ rateName: String, _ what: String
    ) {
        guard let minimum else { return }
        checkLinkRate(minimum, name, what)
        guard let rate else { return add(what, "\(name) without \(rateName) changes nothing") }
        if minimum >= rate { add(what, "\(name) is not below \(rateName)") }
    }

    fileprivate mutating func checkOverhead(_ bytes: Int?, _ what: String) {
        if let bytes, !PolicyLimits.overheadBytes.contains(bytes) {
            add(what, "overhead_bytes is 0 to \(PolicyLimits.overheadBytes.upperBound)")
        }
    }

    fileprivate mutating func checkOuter(_ text: String, _ what: String) {
        if !["off", "class", "copy"].contains(text) { add(what, "outer is off, class or copy") }
    }
}

/// What a sound service matches.
private struct ServiceMatch {
    private let destination: IPPrefix?
    /// `nil` for all.
    private let transport: String?
    /// Empty for all; otherwise ascending, with a gap between any two.
    private let ports: [ClosedRange<UInt16>]

    init(_ service: QoSPolicy.Service) {
        destination = IPPrefix(service.destination)
        transport = service.transport == AccessPolicy.Rule.anything ? nil : service.transport
        let ranges = service.portRanges
        ports = PortRanges.coverAll(ranges) ? [] : PortRanges.merged(ranges)
    }

    /// Whether all that `other` matches is matched here.
    ///
    /// - Complexity: O(ranges of both).
    func covers(_ other: Self) -> Bool {
        guard let destination, let inner = other.destination, destination.holds(inner),
            transport == nil || transport == other.transport
        else { return false }
        guard !ports.isEmpty else { return true }
        guard !other.ports.isEmpty else { return false }
        var index = 0
        for range in other.ports {
            // No range here that ends before this one begins holds a later one.
            while index < ports.count, ports[index].upperBound < range.lowerBound { index += 1 }
            guard index < ports.count, ports[index].lowerBound <= range.lowerBound,
                range.upperBound <= ports[index].upperBound
            else { return false }
        }
        return true
    }
}
