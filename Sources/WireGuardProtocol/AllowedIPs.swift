public import PacketFormats

/// Which peer each prefix belongs to: the mutable form of cryptokey routing.
///
/// A prefix belongs to at most one peer; inserting it for another moves it. Lookups on the packet
/// path go through a ``RoutingTable`` compiled from it.
///
/// Source: WireGuard paper, section 2.
public struct AllowedIPs: Sendable {
    private var owners: [IPPrefix: PeerID] = [:]
    private var prefixesByPeer: [PeerID: [IPPrefix]] = [:]
    /// Number of prefixes of each length, IPv4 first: lookups try only lengths that occur.
    private var lengthCounts = [Int](repeating: 0, count: 33 + 129)

    public init() {}

    /// Number of prefixes.
    public var count: Int { owners.count }

    /// Gives `prefix` to `peer`, taking it from whoever had it.
    ///
    /// - Returns: The peer that lost it, if another one had it.
    @discardableResult
    public mutating func insert(_ prefix: IPPrefix, _ peer: PeerID) -> PeerID? {
        let previous = owners[prefix]
        guard previous != peer else { return nil }
        if let previous {
            forget(prefix, of: previous)
        } else {
            lengthCounts[Self.slot(of: prefix)] += 1
        }
        owners[prefix] = peer
        prefixesByPeer[peer, default: []].append(prefix)
        return previous
    }

    /// Takes `prefix` from `peer`; nothing happens if it is another's.
    ///
    /// - Returns: Whether it was the peer's.
    @discardableResult
    public mutating func remove(_ prefix: IPPrefix, _ peer: PeerID) -> Bool {
        guard owners[prefix] == peer else { return false }
        owners[prefix] = nil
        lengthCounts[Self.slot(of: prefix)] -= 1
        forget(prefix, of: peer)
        return true
    }

    /// Takes every prefix of `peer`.
    ///
    /// - Complexity: Linear in the peer's own prefixes.
    public mutating func removeAll(of peer: PeerID) {
        for prefix in prefixesByPeer.removeValue(forKey: peer) ?? [] {
            owners[prefix] = nil
            lengthCounts[Self.slot(of: prefix)] -= 1
        }
    }

    /// The peer's prefixes in the order in which it got them.
    public func prefixes(of peer: PeerID) -> [IPPrefix] { prefixesByPeer[peer] ?? [] }

    /// The owner of the longest prefix that contains `address`.
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

    private mutating func forget(_ prefix: IPPrefix, of peer: PeerID) {
        prefixesByPeer[peer]?.removeAll { $0 == prefix }
        if prefixesByPeer[peer]?.isEmpty == true { prefixesByPeer[peer] = nil }
    }

    private static func slot(of prefix: IPPrefix) -> Int {
        (prefix.address.isIPv4 ? 0 : 33) + prefix.length
    }
}
