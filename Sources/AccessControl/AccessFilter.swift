public import PacketFormats
import PacketMemory

/// Judges the packets of one tenant by its rules: immutable, shared by all workers.
///
/// A packet that the rules let its source open a connection with passes and is remembered in the
/// ``AccessState``. Answers to what was remembered pass while the rules still let the connection be
/// opened; so do ICMP errors that quote one of its packets, and the later fragments of a packet
/// whose first one passed. Everything else is denied and counted.
///
/// 1. Classes of source and destination, two tree lookups.
/// 2. Rules for the packet's own direction: allowed makes or refreshes state.
/// 3. Otherwise state, and rules for the other direction.
public final class AccessFilter: Sendable {
    /// The place of the rule that is none: nothing speaks of these two.
    @inlinable public static var defaultDeny: Int32 { -1 }

    public let rules: AccessRules
    public let state: AccessState
    let compiled: CompiledRules
    /// The default's first, then those of the rules.
    private let denialCounts: AtomicWords

    /// - Parameter state: That of the filter before, where there was one.
    /// - Complexity: Linear in rules, members and services, but for sorting.
    public init(_ rules: AccessRules, state: AccessState) {
        self.rules = rules
        self.state = state
        compiled = CompiledRules(rules)
        denialCounts = AtomicWords(count: rules.rules.count + 1)
    }

    /// The same connections under other rules; rules that keep their name keep their count.
    public convenience init(_ rules: AccessRules, continuing previous: AccessFilter) {
        self.init(rules, state: previous.state)
        var counts: [String: UInt64] = [:]
        for denials in previous.denials where denials.rule >= 0 {
            counts[denials.name, default: 0] += denials.count
        }
        denialCounts.add(previous.denialCounts.load(0), at: 0)
        for (index, rule) in rules.rules.enumerated() {
            if let count = counts.removeValue(forKey: rule.name) {
                denialCounts.add(count, at: index + 1)
            }
        }
    }

    /// Denied packets: those that no rule speaks of first, then by rule; also where there are none.
    public var denials: [AccessDenials] {
        [AccessDenials(
            rule: Self.defaultDeny, name: Self.defaultDenyName, count: denialCounts.load(0))]
            + rules.rules.enumerated().map { index, rule in
                AccessDenials(
                    rule: Int32(index), name: rule.name, count: denialCounts.load(index + 1))
            }
    }

    /// All denied packets.
    public var denialCount: UInt64 {
        (0..<denialCounts.count).reduce(0) { $0 &+ denialCounts.load($1) }
    }

    /// Bytes that rules and state occupy.
    public var byteCount: Int { compiled.byteCount + state.capacity * 8 }

    public static let defaultDenyName = "no rule"

    /// Judges a packet, whichever way it goes, and counts it if it is denied.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Complexity: O(1), with one word more for each 64 rules.
    public func judge(_ packet: IPPacket, now: UInt64) -> AccessVerdict {
        let decision = decide(packet, now: now)
        guard !decision.isAllowed else { return .allowed }
        denialCounts.add(1, at: Int(decision.rule &+ 1))
        return .denied(rule: decision.rule)
    }
}

// MARK: - Packets

extension AccessFilter {
    private static var nobody: AccessDecision {
        AccessDecision(isAllowed: false, rule: defaultDeny)
    }

    private func decide(_ packet: IPPacket, now: UInt64) -> AccessDecision {
        let time = StateEntry.time(now)
        guard packet.hasTransport, !packet.isSourceRouted else {
            return decideWithoutTransport(packet, time: time)
        }
        let transport = AccessRules.Transport(packet.protocol, version: packet.version)
        guard let ports = FlowPorts(packet, transport) else { return Self.nobody }
        let addresses = FlowAddresses(of: packet)
        let source = compiled.sourceClass(addresses)
        let destination = compiled.destinationClass(addresses)
        let decision = compiled.decide(
            from: source, to: destination, transport, port: ports.destination)
        let flow = FlowKey(addresses, packet.protocol, ports, key: state.key)
        if decision.isAllowed {
            if ports.makesState { state.noteOpener(flow, time: time) }
        } else if transport == .icmp, ICMPQuote.isError(packet) {
            guard mayPass(errorOf: packet, time: time) else { return decision }
        } else {
            let (entry, place) = state.find(flow, time: time)
            guard mayAnswer(flow, entry, now: now) else { return decision }
            let opening = compiled.decide(
                from: destination, to: source, transport, port: ports.source)
            guard opening.isAllowed else { return decision }
            state.noteAnswer(flow, entry, at: place, time: time)
        }
        if packet.isFragment {
            state.noteOpener(FlowKey(fragmentOf: packet, key: state.key), time: time)
        }
        return AccessDecision(isAllowed: true, rule: decision.rule)
    }

    /// Later fragments pass if their first one did; what hides its transport or its destination
    /// never does, nor a first fragment without its transport (RFC 7112, section 5).
    private func decideWithoutTransport(_ packet: IPPacket, time: UInt64) -> AccessDecision {
        guard packet.isLaterFragment, !packet.isSourceRouted, !packet.overwritesHeader else {
            return Self.nobody
        }
        let entry = state.find(FlowKey(fragmentOf: packet, key: state.key), time: time).entry
        return AccessDecision(isAllowed: entry.word != 0, rule: Self.defaultDeny)
    }

    /// Whether somebody opened the connection that this packet would be an answer of.
    @inline(__always)
    private func mayAnswer(_ flow: FlowKey, _ entry: StateEntry, now: UInt64) -> Bool {
        guard !flow.opens else { return false }
        if entry.word != 0 { return entry.has(flow.answeredFlag) }
        return flow.continues && state.mayPickUp(now: now)
    }

    /// Whether an ICMP error tells the sender of a packet what became of it.
    private func mayPass(errorOf packet: IPPacket, time: UInt64) -> Bool {
        guard let quote = ICMPQuote(in: packet) else { return false }
        let flow = FlowKey(quote.addresses, quote.protocolNumber, quote.ports, key: state.key)
        let entry = state.find(flow, time: time).entry
        guard entry.word != 0 else { return false }
        let source = compiled.sourceClass(quote.addresses)
        let destination = compiled.destinationClass(quote.addresses)
        if entry.has(flow.openerFlag),
            compiled.decide(
                from: source, to: destination, quote.transport, port: quote.ports.destination
            ).isAllowed
        {
            return true
        }
        return entry.has(flow.answeredFlag)
            && compiled.decide(
                from: destination, to: source, quote.transport, port: quote.ports.source
            ).isAllowed
    }
}
