/// How much a peer is wanted among those that share a prefix with it.
public struct PeerPreference: Hashable, Sendable {
    /// How well the way through the peer works: 0 is best, and only the best of a group serve.
    public var level: UInt8
    /// New flows go to the lowest number among those that serve.
    public var priority: UInt16
    /// The peer's share of new flows among those of its priority; 0 keeps its flows and gets no new
    /// ones, unless nobody else is there.
    public var weight: UInt16

    public init(level: UInt8 = 0, priority: UInt16 = 100, weight: UInt16 = 1) {
        self.level = level
        self.priority = priority
        self.weight = weight
    }
}

/// Peers that share a prefix, and who of them serves which flow.
public struct PeerGroup: Hashable, Sendable {
    private struct Member: Hashable, Sendable {
        let peer: PeerID
        let weight: UInt16
        /// Whether it is as well as the best, and keeps the flows that it has.
        let serves: Bool
        /// Whether new flows go to it.
        let isPreferred: Bool
    }

    private let members: [Member]

    init(_ peers: [PeerID], _ preferences: [PeerID: PeerPreference]) {
        let known = peers.map { ($0, preferences[$0] ?? PeerPreference()) }
        let best = known.map(\.1.level).min()
        let serving = known.filter { $0.1.level == best }
        // Whoever has no weight counts only where nobody has any.
        let weighted = serving.contains { $0.1.weight > 0 }
        let eligible = serving.filter { $0.1.weight > 0 || !weighted }
        let first = eligible.map(\.1.priority).min()
        members = known.map { peer, preference in
            let serves = preference.level == best
            let isEligible = serves && (preference.weight > 0 || !weighted)
            return Member(
                peer: peer, weight: max(preference.weight, 1), serves: serves,
                isPreferred: isEligible && preference.priority == first)
        }
    }

    /// In ascending order.
    public var peers: [PeerID] { members.map(\.peer) }

    func includes(_ peer: PeerID) -> Bool { members.contains { $0.peer == peer } }

    /// Whether a flow that `peer` has may stay with it.
    func keeps(_ peer: PeerID) -> Bool { members.contains { $0.peer == peer && $0.serves } }

    /// The peer for a new flow: always the same one while the same ones are preferred, and another
    /// one only for the flows of whoever is no longer.
    ///
    /// Source: Thaler and Ravishankar, Using name-based mappings to increase hit rates (1998);
    /// with weights by Schindelhauer and Schomaker, Weighted distributed hash tables (2005).
    func peer(forFlow flow: UInt32) -> PeerID {
        var chosen = RoutingTable.none
        var best = -Double.infinity
        for member in members where member.isPreferred {
            let score = Double(member.weight) / -logarithm(Self.draw(flow, member.peer))
            if score > best { (chosen, best) = (member.peer, score) }
        }
        return chosen
    }

    /// A number between 0 and 1, both excluded, that looks random (SplitMix64's mixing).
    private static func draw(_ flow: UInt32, _ peer: PeerID) -> Double {
        var word = UInt64(flow) << 32 | UInt64(UInt32(bitPattern: peer))
        word = (word &+ 0x9e37_79b9_7f4a_7c15) ^ (word >> 30)
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        word ^= word >> 31
        return (Double(word >> 12) + 0.5) / Double(1 << 52)
    }
}

/// The natural logarithm of a positive number, to five digits.
private func logarithm(_ number: Double) -> Double {
    let ratio = (number.significand - 1) / (number.significand + 1)
    let square = ratio * ratio
    let series = 2 * ratio * (1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7))))
    return Double(number.exponent) * 0.693_147_180_559_945_3 + series
}
