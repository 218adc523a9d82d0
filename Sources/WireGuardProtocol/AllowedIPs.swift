public import PacketFormats

/// Which peer each prefix belongs to: the mutable form of cryptokey routing.
///
/// A prefix belongs to one peer, and inserting it for another moves it; or several share it, each
/// of which asked to. Lookups on the packet path go through a ``RoutingTable`` compiled from it.
///
/// Source: WireGuard paper, section 2.
public struct AllowedIPs: Sendable {
    /// Of a shared prefix the first of its sharers.
    private var owners: [IPPrefix: PeerID] = [:]
    /// Whoever shares a prefix, in ascending order; also one who has nobody to share it with yet.
    private var sharers: [IPPrefix: [PeerID]] = [:]
    private var prefixesByPeer: [PeerID: [IPPrefix]] = [:]
    /// Number of prefixes of each length, IPv4 first: lookups try only lengths that occur.
    private var lengthCounts = [Int](repeating: 0, count: 33 + 129)

    public init() {}

    /// Number of prefixes.
    public var count: Int { owners.count }

    /// Gives `prefix` to `peer` alone, taking it from whoever had it.
    ///
    /// - Returns: The peer that lost it, or the first of several, if another one had it.
    @discardableResult
    public mutating func insert(_ prefix: IPPrefix, _ peer: PeerID) -> PeerID? {
        let others = owners(of: prefix).filter { $0 != peer }
        for other in others { remove(prefix, other) }
        sharers[prefix] = nil
        if owners[prefix] == nil { add(prefix, peer) }
        return others.first
    }

    /// Lets `peer` have `prefix` together with those who share it already.
    ///
    /// Whoever has it alone has not agreed to that, and loses it.
    /// - Returns: Whether anything changed.
    @discardableResult
    public mutating func share(_ prefix: IPPrefix, _ peer: PeerID) -> Bool {
        guard var members = sharers[prefix] else {
            insert(prefix, peer)
            sharers[prefix] = [peer]
            return true
        }
        guard !members.contains(peer) else { return false }
        members.insert(peer, at: members.firstIndex { $0 > peer } ?? members.endIndex)
        sharers[prefix] = members
        owners[prefix] = members[0]
        prefixesByPeer[peer, default: []].append(prefix)
        return true
    }

    /// Takes `prefix` from `peer`; others who share it keep it. Nothing happens if the peer does
    /// not have it.
    ///
    /// - Returns: Whether the peer had it.
    @discardableResult
    public mutating func remove(_ prefix: IPPrefix, _ peer: PeerID) -> Bool {
        guard leave(prefix, peer) else { return false }
        forget(prefix, of: peer)
        return true
    }

    /// Takes every prefix of `peer`.
    ///
    /// - Complexity: Linear in the peer's own prefixes.
    public mutating func removeAll(of peer: PeerID) {
        for prefix in prefixesByPeer.removeValue(forKey: peer) ?? [] { leave(prefix, peer) }
    }

    /// The peers that have exactly this prefix, in ascending order.
    public func owners(of prefix: IPPrefix) -> [PeerID] {
        sharers[prefix] ?? owners[prefix].map { [$0] } ?? []
    }

    /// Whether anybody shares a prefix, or would.
    public var hasSharers: Bool { !sharers.isEmpty }

    /// Whether whoever has exactly this prefix would share it.
    public func isShared(_ prefix: IPPrefix) -> Bool { sharers[prefix] != nil }

    /// The peer that has exactly this prefix, or the first of those who share it.
    public func owner(of prefix: IPPrefix) -> PeerID? { owners[prefix] }

    /// The peer's prefixes in the order in which it got them.
    public func prefixes(of peer: PeerID) -> [IPPrefix] { prefixesByPeer[peer] ?? [] }

    /// The owner of the longest prefix that contains `address`, or the first of those who share it.
    ///
    /// - Complexity: One dictionary lookup for each prefix length in use.
    public func lookup(_ address: IPAddress) -> PeerID? {
        let base = address.isIPv4 ? 0 : 33
        for length in stride(from: address.isIPv4 ? 32 : 128, through: 0, by: -1)
        where lengthCounts[base + length] > 0 {
            if let prefix = IPPrefix(address, length: length), let owner = owners[prefix] {
                return owner
            }
        }
        return nil
    }

    /// Every prefix with its owner, in no particular order.
    var all: [IPPrefix: PeerID] { owners }

    /// Every prefix that at least two peers have, with all of them.
    var shared: [IPPrefix: [PeerID]] { sharers.filter { $0.value.count > 1 } }

    private mutating func add(_ prefix: IPPrefix, _ peer: PeerID) {
        owners[prefix] = peer
        lengthCounts[Self.slot(of: prefix)] += 1
        prefixesByPeer[peer, default: []].append(prefix)
    }

    /// All of ``remove(_:_:)`` but for the peer's own list.
    ///
    /// - Returns: Whether the peer had it.
    @discardableResult
    private mutating func leave(_ prefix: IPPrefix, _ peer: PeerID) -> Bool {
        if var members = sharers[prefix] {
            guard let index = members.firstIndex(of: peer) else { return false }
            members.remove(at: index)
            sharers[prefix] = members.isEmpty ? nil : members
            owners[prefix] = members.first
        } else {
            guard owners[prefix] == peer else { return false }
            owners[prefix] = nil
        }
        if owners[prefix] == nil { lengthCounts[Self.slot(of: prefix)] -= 1 }
        return true
    }

    private mutating func forget(_ prefix: IPPrefix, of peer: PeerID) {
        prefixesByPeer[peer]?.removeAll { $0 == prefix }
        if prefixesByPeer[peer]?.isEmpty == true { prefixesByPeer[peer] = nil }
    }

    private static func slot(of prefix: IPPrefix) -> Int {
        (prefix.address.isIPv4 ? 0 : 33) + prefix.length
    }
}
