public import Cryptography
public import PacketFormats
public import WireGuardConfiguration

/// What the tunnel's peers were told to be, and what to change so that they are what they should.
public struct TunnelPlan: Sendable {
    /// One peer as the tunnel should have it.
    public struct Peer: Hashable, Sendable {
        public var publicKey: PublicKey
        /// `nil` leaves the tunnel to learn it.
        public var endpoint: Endpoint?
        /// 0 for none.
        public var keepaliveSeconds: UInt16
        public var profile: TunnelProfile
        public var prefixes: Set<IPPrefix>
        /// Those among them that other peers may have as well.
        public var sharedPrefixes: Set<IPPrefix>
        /// ``NetworkView/Peer/admission``: one that was away begins anew, without its sessions.
        public var admission: Int

        public init(
            publicKey: PublicKey, endpoint: Endpoint?, keepaliveSeconds: UInt16,
            profile: TunnelProfile = .wireguard, prefixes: Set<IPPrefix>,
            sharedPrefixes: Set<IPPrefix> = [], admission: Int
        ) {
            self.publicKey = publicKey
            self.endpoint = endpoint
            self.keepaliveSeconds = keepaliveSeconds
            self.profile = profile
            self.prefixes = prefixes
            self.sharedPrefixes = sharedPrefixes
            self.admission = admission
        }

        fileprivate var ownPrefixes: Set<IPPrefix> { prefixes.subtracting(sharedPrefixes) }
    }

    /// What one change of peers does.
    public struct Step: Sendable {
        /// In the order in which the tunnel must take them: empty where nothing changes.
        public var settings: [PeerSettings] = []
        /// Networks that no peer has any more, and those that none had before.
        public var lostPrefixes: Set<IPPrefix> = []
        public var newPrefixes: Set<IPPrefix> = []
        /// New peers that are looked for where they were last, and would not be spoken to before
        /// there is something to say.
        public var greeted: [VerifyingKey] = []

        public var isEmpty: Bool {
            settings.isEmpty && lostPrefixes.isEmpty && newPrefixes.isEmpty
        }
    }

    public private(set) var applied: [VerifyingKey: Peer] = [:]
    /// How many peers have each network that is shared.
    private var holders: [IPPrefix: Int] = [:]

    public init() {}

    /// Says what to tell the tunnel, and counts it as told.
    ///
    /// - Parameters:
    ///   - wanted: Only peers that may have changed; `nil` for one that is to go.
    ///   - lastEndpoint: Where a new peer without an endpoint is to be looked for.
    /// - Returns: Nothing of peers that are as they should be.
    /// - Complexity: O(wanted).
    public mutating func step(
        to wanted: [VerifyingKey: Peer?], lastEndpoint: (VerifyingKey) -> Endpoint? = { _ in nil }
    ) -> Step {
        var step = Step(), removals: [PeerSettings] = [], changes: [PeerSettings] = []
        func addition(of peer: Peer, _ node: VerifyingKey) -> PeerSettings {
            var hint: Endpoint?
            if peer.endpoint == nil { hint = lastEndpoint(node) }
            if hint != nil && peer.keepaliveSeconds == 0 { step.greeted.append(node) }
            return Self.addition(of: peer, at: peer.endpoint ?? hint)
        }
        let heldBefore = Set(holders.keys)
        for (node, new) in wanted.sorted(by: { $0.key < $1.key }) {
            let old = applied[node]
            guard old != new else { continue }
            count(old, -1)
            count(new, 1)
            step.lostPrefixes.formUnion(old?.prefixes ?? [])
            step.newPrefixes.formUnion(new?.prefixes ?? [])
            applied[node] = new
            if let old, new?.admission != old.admission {
                removals.append(PeerSettings(publicKey: old.publicKey, remove: true))
                if let new { changes.append(addition(of: new, node)) }
            } else if let old, let new {
                changes.append(Self.change(from: old, to: new))
            } else if let new {
                changes.append(addition(of: new, node))
            }
        }
        // A network that changes hands is in both sets.
        let moved = step.lostPrefixes.intersection(step.newPrefixes)
        step.lostPrefixes.subtract(moved)
        step.newPrefixes.subtract(moved)
        step.lostPrefixes = step.lostPrefixes.filter { holders[$0] == nil }
        step.newPrefixes.subtract(heldBefore)
        // Keys and networks must be free before another peer gets them.
        step.settings = removals + changes
        return step
    }

    private mutating func count(_ peer: Peer?, _ change: Int) {
        for prefix in peer?.sharedPrefixes ?? [] {
            let count = holders[prefix, default: 0] + change
            holders[prefix] = count > 0 ? count : nil
        }
    }

    /// Forgets what was told: the tunnel may be otherwise. Then all of it is told anew.
    ///
    /// - Parameter present: The tunnel's peers.
    /// - Returns: The removal of those that should not be.
    public mutating func recover(from present: [PeerStatus]) -> [PeerSettings] {
        let byKey = Dictionary(
            applied.map { ($0.value.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        var strangers: [PeerSettings] = []
        var kept: [VerifyingKey: Peer] = [:]
        for peer in present {
            guard let (node, plan) = byKey[peer.publicKey] else {
                strangers.append(PeerSettings(publicKey: peer.publicKey, remove: true))
                continue
            }
            var known = plan
            known.prefixes = Set(peer.allowedIPs)
            known.sharedPrefixes.formIntersection(known.prefixes)
            known.endpoint = peer.endpoint
            known.profile = peer.profile
            known.keepaliveSeconds = peer.persistentKeepaliveSeconds
            kept[node] = known
        }
        applied = kept
        holders = [:]
        for peer in kept.values { count(peer, 1) }
        return strangers
    }

    /// Counts a peer as told that the tunnel has from an earlier agent: only what is otherwise than
    /// it should be is changed, and neither its sessions nor where it is.
    public mutating func inherit(_ present: PeerStatus, as wanted: Peer, of node: VerifyingKey) {
        guard applied[node] == nil, present.publicKey == wanted.publicKey else { return }
        var known = wanted
        known.prefixes = Set(present.allowedIPs)
        known.sharedPrefixes.formIntersection(known.prefixes)
        if wanted.endpoint != nil { known.endpoint = present.endpoint }
        known.keepaliveSeconds = present.persistentKeepaliveSeconds
        known.profile = present.profile
        applied[node] = known
        count(known, 1)
    }

    private static func addition(of peer: Peer, at endpoint: Endpoint?) -> PeerSettings {
        PeerSettings(
            publicKey: peer.publicKey, profile: peer.profile, endpoint: endpoint,
            persistentKeepaliveSeconds: peer.keepaliveSeconds, replaceAllowedIPs: true,
            allowedIPs: peer.prefixes.sorted().map {
                peer.sharedPrefixes.contains($0) ? .share($0) : .add($0)
            })
    }

    private static func change(from old: Peer, to new: Peer) -> PeerSettings {
        let isRotated = old.publicKey != new.publicKey
        let lost = old.prefixes.subtracting(new.prefixes).sorted()
        // A network may also become shared, or not be any more.
        let added = new.ownPrefixes.subtracting(old.ownPrefixes).sorted()
        let shared = new.sharedPrefixes.subtracting(old.sharedPrefixes).sorted()
        return PeerSettings(
            publicKey: old.publicKey, updateOnly: true,
            successorKey: isRotated ? new.publicKey : nil,
            profile: old.profile == new.profile ? nil : new.profile,
            endpoint: old.endpoint == new.endpoint ? nil : new.endpoint,
            persistentKeepaliveSeconds: old.keepaliveSeconds == new.keepaliveSeconds
                ? nil : new.keepaliveSeconds,
            allowedIPs: lost.map { .remove($0) } + added.map { .add($0) }
                + shared.map { .share($0) })
    }
}
