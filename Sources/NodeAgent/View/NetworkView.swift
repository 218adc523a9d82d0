public import ControlModel
public import Cryptography
public import PacketFormats

/// What a node believes of its network, from what the coordinator says and its own verification.
///
/// Pure: messages and the time come in, and ``takeChanged()`` names the peers that are not what
/// they were. Whatever is refused is counted, and touches nothing else.
public struct NetworkView: Sendable {
    /// Another node that was verified.
    public struct Peer: Hashable, Sendable {
        public let verified: VerifiedGrant
        public let name: String
        /// Where a gateway says it is reached, `host:port`; not signed, and not believed further.
        public let endpoint: String?
        /// Of a gateway; not signed, either.
        public let preference: GatewayPreference
        /// ``StatementChain/text``.
        public let chain: String
        /// Differs if the peer was away in between, so that nothing of before may live on.
        public let admission: Int

        public var node: VerifyingKey { verified.node }
        /// Its addresses and the networks behind it.
        public var prefixes: Set<IPPrefix> { verified.grant.addresses.union(verified.grant.routes) }
        /// The networks among them that other gateways of the tenant may carry as well.
        public var sharedPrefixes: Set<IPPrefix> {
            let grant = verified.grant
            return grant.role == .gateway ? grant.routes.subtracting(grant.addresses) : []
        }

        /// What the coordinator told.
        fileprivate var told: CoordinatorAPI.Peer {
            let standard = GatewayPreference()
            return CoordinatorAPI.Peer(
                node: node.base64URL, name: name, chain: chain, endpoint: endpoint,
                priority: preference.priority == standard.priority
                    ? nil : Int64(preference.priority),
                weight: preference.weight == standard.weight ? nil : Int64(preference.weight),
                health: preference.health.isEmpty ? nil : preference.health.map(\.description))
        }
    }

    public let node: VerifyingKey
    public let tenant: Name
    /// WireGuard keys that the node has: the one in use, and the one that it rotates to.
    public var ownKeys: Set<PublicKey>
    public private(set) var verifier: Verifier
    /// The newest chain of its own that the node took, also where it does not count any more.
    public private(set) var ownChain: String
    /// That chain, if it ever verified here.
    public private(set) var own: VerifiedGrant?
    public private(set) var standing = Standing.refused
    /// Why the standing is not `active`.
    public private(set) var standingReason: Refusal?
    /// Number of the newest change that was taken up.
    public private(set) var number: Int64
    public private(set) var refusals = RefusalCounts()
    /// The coordinator offers an older revocation list than the node has, or leaves one out.
    public private(set) var isServedStaleRevocations = false
    /// Changes whenever what the node believes by does: roots, lists, its own chain.
    public private(set) var trustRevision = 0
    public private(set) var policy: AccessPolicy?
    public private(set) var qos: QoSPolicy?
    /// What the coordinator calls the node, if it has said so; not signed.
    public private(set) var name: String?

    private var memory = TrustMemory()
    /// Whoever verified; peers of the tunnel only while the node itself is active.
    private var accepted: [VerifyingKey: Peer] = [:]
    private var owners = PrefixOwners()
    /// Refused for what may pass: they are asked again.
    private var waiting: [VerifyingKey: CoordinatorAPI.Peer] = [:]
    /// Peers whose chain does not count yet, by the key that they go by; asked again by the clock.
    private var early: [VerifyingKey: CoordinatorAPI.Peer] = [:]
    private var admissions = 0
    private var advancedAt: Int64
    private var changed: Set<VerifyingKey> = []

    /// - Parameter ownChain: As it was signed when joining, or the newest from disk.
    public init(
        node: VerifyingKey, tenant: Name, ownKeys: Set<PublicKey>, verifier: Verifier,
        ownChain: String, at now: Int64
    ) {
        self.node = node
        self.tenant = tenant
        self.ownKeys = ownKeys
        self.verifier = verifier
        self.ownChain = ownChain
        number = 0
        advancedAt = now
        do {
            own = try verifiedOwn(ownChain, at: now)
        } catch {
            standing = Standing(error, revokedSerial: revokedSerial)
            standingReason = error
        }
        settle(at: now)
    }

    /// Peers that the tunnel may have now.
    public var peers: [Peer] { standing == .active ? Array(accepted.values) : [] }

    /// What the tunnel to a peer speaks, by both grants; the peer comes to the same.
    public func profile(of peer: Peer) -> TunnelProfile {
        own?.grant.profile(with: peer.verified.grant) ?? peer.verified.grant.profile
    }

    /// - Returns: `nil` for what is no peer now.
    public func peer(_ node: VerifyingKey) -> Peer? {
        standing == .active ? accepted[node] : nil
    }

    public var acceptedCount: Int { accepted.count }

    /// What to keep of the peers, in the order in which they are to be taken up again.
    public var toldPeers: [CoordinatorAPI.Peer] {
        accepted.values.sorted { $0.admission < $1.admission }.map(\.told)
            + waiting.merging(early) { peer, _ in peer }.values.sorted { $0.node < $1.node }
    }

    /// The peers that may differ from when this was asked last.
    public mutating func takeChanged() -> Set<VerifyingKey> {
        defer { changed = [] }
        return changed
    }

    public mutating func takeUnreportedRefusals() -> [String: Int] { refusals.takeUnreported() }
    public mutating func giveBack(_ refusals: [String: Int]) { self.refusals.giveBack(refusals) }

    /// A line of the stream that is no event.
    public mutating func noteUnreadable(_ detail: String, at now: Int64) {
        refusals.count(.unreadable, detail, at: now)
    }

    /// When ``advance(to:)`` is due, in Unix seconds.
    public var nextDeadline: Int64? {
        let isActive = standing == .active
        let grants = (isActive ? own.map { [$0] } ?? [] : []) + accepted.values.map(\.verified)
        let end = grants.map { verifier.end(of: $0) }.min()
        let waits = !waiting.isEmpty || !early.isEmpty
        let asksAgain = waits || standing == .refused || standing == .expired
        return asksAgain ? min(end ?? .max, advancedAt + Self.waitingSeconds) : end
    }

    /// Drops what has expired, and asks again what did not count yet: a clock may have been wrong.
    public mutating func advance(to now: Int64) {
        advancedAt = now
        memory.forgetExpired(at: now)
        if own == nil { takeOwn(ownChain, at: now) }
        settle(at: now)
        waiting.merge(early) { peer, _ in peer }
        early = [:]
        retryWaiting(at: now)
    }

    static var waitingMax: Int { 16_384 }
    static var waitingSeconds: Int64 { 60 }
}

// MARK: - Messages

extension NetworkView {
    /// Takes up a whole state: peers that are not in it are gone.
    public mutating func replace(
        with state: CoordinatorAPI.NetworkState, number: Int64, at now: Int64
    ) {
        for rollover in state.rollovers { follow(rollover, at: now) }
        isServedStaleRevocations = false
        let lists: [(String?, RevocationList.Realm)] = [
            (state.organisationRevocations, .organisation),
            (state.tenantRevocations, .tenant(tenant)),
        ]
        for (text, realm) in lists {
            if let text {
                accept(revocations: text, at: now)
            } else if verifier.revocations.list(of: realm) != nil {
                isServedStaleRevocations = true
            }
        }
        takeOwn(state.own, at: now)
        settle(at: now)
        let told = Set(state.peers.compactMap { VerifyingKey(base64URL: $0.node) })
        for node in accepted.keys where !told.contains(node) { drop(node) }
        waiting = waiting.filter { told.contains($0.key) }
        early = early.filter { told.contains($0.key) }
        take(state.peers, at: now)
        policy = state.policy
        qos = state.qos
        take(name: state.name)
        self.number = min(max(number, 0), TrustLimits.integerMax)
        memory.forgetExpired(at: now)
    }

    /// Takes up again what was kept of an earlier view.
    ///
    /// - Parameter peers: The next ones of `network`, in their order.
    public mutating func restore(
        _ peers: some Sequence<CoordinatorAPI.Peer>, of network: StoredMembership.Network,
        at now: Int64
    ) {
        for peer in peers { take([peer], at: now) }
        policy = network.policy
        qos = network.qos
        take(name: network.name)
        number = min(max(network.number, 0), TrustLimits.integerMax)
    }

    /// Takes up one change.
    public mutating func apply(
        _ change: CoordinatorAPI.NetworkChange, number: Int64, at now: Int64
    ) {
        if let text = change.rollover { follow(text, at: now) }
        if let text = change.revocations { accept(revocations: text, at: now) }
        if let text = change.own { takeOwn(text, at: now) }
        if change.rollover != nil || change.revocations != nil || change.own != nil {
            settle(at: now)
        }
        if let text = change.peerRemoved, let node = VerifyingKey(base64URL: text) {
            waiting[node] = nil
            early[node] = nil
            // Only whose addresses were taken can gain by it.
            if accepted[node] != nil {
                drop(node)
                retryWaiting(at: now)
            }
        }
        if let peer = change.peer { take([peer], at: now) }
        if let policy = change.policy { self.policy = policy }
        if let qos = change.qos { self.qos = qos }
        take(name: change.name)
        noteNumber(number)
    }

    /// A heartbeat's, or a change's.
    ///
    /// One that no coordinator counts to is passed over: asked for what follows it, no coordinator
    /// would have an answer.
    public mutating func noteNumber(_ number: Int64) {
        guard (0...TrustLimits.integerMax).contains(number) else { return }
        self.number = max(self.number, number)
    }

    /// Takes up a chain of the node's own from elsewhere than the stream.
    public mutating func take(own text: String, at now: Int64) {
        takeOwn(text, at: now)
        settle(at: now)
    }

    private mutating func take(name new: String?) {
        if let new, NodeName.isValid(new) { name = new }
    }

    private mutating func follow(_ text: String, at now: Int64) {
        let before = verifier.anchors
        do {
            try verifier.follow(text, at: now)
            if verifier.anchors != before { trustRevision += 1 }
        } catch {
            refusals.count(error, at: now)
        }
    }

    private mutating func accept(revocations text: String, at now: Int64) {
        let before = verifier.revocations.texts
        do {
            try verifier.acceptRevocations(try StatementChain(parsing: text), at: now)
            if verifier.revocations.texts != before {
                isServedStaleRevocations = false
                trustRevision += 1
            }
        } catch {
            refusals.count(error, at: now)
            if error.reason == .revocationListBackwards { isServedStaleRevocations = true }
        }
    }
}

// MARK: - The node itself

extension NetworkView {
    private mutating func takeOwn(_ text: String, at now: Int64) {
        guard text != ownChain || own == nil else { return }
        do {
            let verified = try verifiedOwn(text, at: now)
            // It decides what every tunnel speaks.
            if let own, own.grant.profile != verified.grant.profile {
                changed.formUnion(accepted.keys)
            }
            own = verified
            ownChain = text
            trustRevision += 1
            for (node, peer) in accepted where !verified.talks(to: peer.verified) {
                refusals.count(.notAPeer, "by the node's new role", of: node, peer.name, at: now)
                drop(node)
            }
        } catch {
            // The join grant of a node that waits for approval is no news.
            if text == ownChain || own == nil && error.reason == .approvalRequired { return }
            refusals.count(error, of: node, at: now)
        }
    }

    private mutating func verifiedOwn(
        _ text: String, at now: Int64
    ) throws(Refusal) -> VerifiedGrant {
        let verified = try verifier.verifyGrant(try StatementChain(parsing: text), at: now)
        guard verified.node == node, ownKeys.contains(verified.publicKey) else {
            throw Refusal(.keyNotAllowed, "a chain of another node or key")
        }
        guard verified.tenant == tenant else {
            throw Refusal(.mixedTenant, "\(verified.tenant) instead of \(tenant)")
        }
        try memory.admit(verified)
        return verified
    }

    private var revokedSerial: Int64 { verifier.revocations.revokedSerial(of: node, in: tenant) }

    /// Whether the node itself and its peers still count, at this time and by these lists.
    private mutating func settle(at now: Int64) {
        let wasActive = standing == .active
        if let own {
            do {
                try verifier.recheck(own, at: now)
                standing = .active
                standingReason = nil
            } catch {
                standing = Standing(error, revokedSerial: revokedSerial)
                standingReason = error
            }
        } else if revokedSerial > 0, standing == .pending {
            // Refused by an admin before it was approved.
            standing = revokedSerial < TrustLimits.integerMax ? .pending : .revoked
        }
        if wasActive != (standing == .active) { changed.formUnion(accepted.keys) }
        for (node, peer) in accepted {
            do {
                try verifier.recheck(peer.verified, at: now)
            } catch {
                refusals.count(error, of: node, peer.name, at: now)
                drop(node)
            }
        }
    }
}

// MARK: - Peers

extension NetworkView {
    /// Older ones first: who was there before stays where two claim the same addresses.
    private mutating func take(_ told: [CoordinatorAPI.Peer], at now: Int64) {
        var newcomers: [(CoordinatorAPI.Peer, VerifiedGrant)] = []
        for peer in told.map(Self.bounded) {
            let node = VerifyingKey(base64URL: peer.node)
            if let node, let known = accepted[node], known.chain == peer.chain {
                waiting[node] = nil
                let now = Peer(
                    verified: known.verified, name: peer.name, endpoint: peer.endpoint,
                    preference: GatewayPreference(of: peer), chain: known.chain,
                    admission: known.admission)
                guard now != known else { continue }
                accepted[node] = now
                changed.insert(node)
                continue
            }
            if let verified = verified(peer, at: now) { newcomers.append((peer, verified)) }
        }
        newcomers.sort { first, second in
            let isKnown = (accepted[first.1.node] != nil, accepted[second.1.node] != nil)
            if isKnown.0 != isKnown.1 { return isKnown.0 }
            return first.1.grant.serial < second.1.grant.serial
        }
        for (peer, verified) in newcomers { admit(peer, verified, at: now) }
    }

    /// - Returns: `nil` for what is refused, which is counted.
    private mutating func verified(
        _ peer: CoordinatorAPI.Peer, at now: Int64
    ) -> VerifiedGrant? {
        let named = VerifyingKey(base64URL: peer.node)
        do throws(Refusal) {
            let chain = try StatementChain(parsing: peer.chain)
            let verified = try verifier.verifyGrant(chain, at: now)
            guard verified.tenant == tenant else {
                throw Refusal(.mixedTenant, "\(verified.tenant) instead of \(tenant)")
            }
            if let (reason, detail) = misfit(of: verified, named: named) {
                refusals.count(reason, detail, of: verified.node, peer.name, at: now)
                return nil
            }
            return verified
        } catch {
            refusals.count(error, of: named, peer.name, at: now)
            if error.reason == .notYetValid, let named, early.count < Self.waitingMax {
                early[named] = peer
            }
            return nil
        }
    }

    private func misfit(
        of verified: VerifiedGrant, named: VerifyingKey?
    ) -> (RefusalCounts.Reason, String)? {
        guard verified.node == named else { return (.nodeMismatch, "the chain of another node") }
        guard verified.node != node, !ownKeys.contains(verified.publicKey) else {
            return (.ownKey, "the node itself")
        }
        // While the node itself is not approved it does not know its own role.
        guard let own, !own.talks(to: verified) else { return nil }
        return (.notAPeer, "\(verified.grant.role.rawValue) to \(own.grant.role.rawValue)")
    }

    private mutating func admit(
        _ peer: CoordinatorAPI.Peer, _ verified: VerifiedGrant, at now: Int64
    ) {
        let node = verified.node
        let old = accepted[node]
        let new = Peer(
            verified: verified, name: peer.name, endpoint: peer.endpoint,
            preference: GatewayPreference(of: peer), chain: peer.chain,
            admission: old?.admission ?? admissions + 1)
        guard old != nil || accepted.count < TrustLimits.rememberedMax else {
            return refusals.count(
                .tooManyPeers, "\(accepted.count)", of: node, peer.name, at: now)
        }
        if let old { owners.remove(old.prefixes, sharing: old.sharedPrefixes) }
        do {
            let taken = owners.overlap(with: new.prefixes, sharing: new.sharedPrefixes)
            if let taken = taken ?? ownNetwork(under: new.prefixes) {
                refusals.count(
                    .addressOverlap, "\(taken) is another peer's, or this node's own", of: node,
                    peer.name, at: now)
                wait(peer, node)
            } else {
                try memory.admit(verified)
                owners.insert(new.prefixes, sharing: new.sharedPrefixes)
                admissions = max(admissions, new.admission)
                accepted[node] = new
                waiting[node] = nil
                early[node] = nil
                changed.insert(node)
                return
            }
        } catch {
            refusals.count(error, of: node, peer.name, at: now)
        }
        if let old { owners.insert(old.prefixes, sharing: old.sharedPrefixes) }
    }

    /// A network of the node's own that holds one of `prefixes`: a peer with it would take packets
    /// away from here. A wider one, such as a default route, does not.
    private func ownNetwork(under prefixes: Set<IPPrefix>) -> IPPrefix? {
        guard let grant = own?.grant else { return nil }
        return grant.addresses.union(grant.routes).first { network in
            prefixes.contains { network.holds($0) }
        }
    }

    /// Whether the tunnel carries packets to `address`: an endpoint there would put every datagram
    /// into the tunnel again.
    public func carries(_ address: IPAddress) -> Bool {
        let own = self.own?.grant.addresses ?? []
        return own.contains { $0.contains(address) }
            || accepted.values.contains { peer in
                peer.prefixes.contains { $0.length > 0 && $0.contains(address) }
            }
    }

    /// What is not signed has no bounds but these, and may hold anything.
    private static func bounded(_ peer: CoordinatorAPI.Peer) -> CoordinatorAPI.Peer {
        let name = peer.name.utf8.prefix(NodeName.bytesMax).filter { (0x21..<0x7f).contains($0) }
        return CoordinatorAPI.Peer(
            node: peer.node, name: String(decoding: name, as: UTF8.self), chain: peer.chain,
            endpoint: peer.endpoint.flatMap { $0.utf8.count > endpointBytesMax ? nil : $0 },
            priority: peer.priority, weight: peer.weight,
            health: peer.health.map { Array($0.prefix(GatewayPreference.targetsMax)) })
    }

    /// A host name of 253 characters, a colon and a port.
    private static var endpointBytesMax: Int { 259 }

    private mutating func drop(_ node: VerifyingKey) {
        guard let peer = accepted.removeValue(forKey: node) else { return }
        owners.remove(peer.prefixes, sharing: peer.sharedPrefixes)
        changed.insert(node)
    }

    private mutating func wait(_ peer: CoordinatorAPI.Peer, _ node: VerifyingKey) {
        guard waiting.count < Self.waitingMax || waiting[node] != nil else { return }
        waiting[node] = peer
    }

    private mutating func retryWaiting(at now: Int64) {
        guard !waiting.isEmpty else { return }
        let again = Array(waiting.values)
        waiting = [:]
        // They were counted when they came.
        let counted = refusals
        take(again, at: now)
        refusals = counted
    }
}

extension VerifiedGrant {
    /// Gateways talk to all others, and to no other gateway.
    fileprivate func talks(to other: VerifiedGrant) -> Bool {
        (grant.role == .gateway) != (other.grant.role == .gateway)
    }
}
