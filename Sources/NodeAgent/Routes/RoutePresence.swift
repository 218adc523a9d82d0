import Cryptography
import PacketFormats

/// Which peers are there, for whoever routes to their networks.
///
/// Pure: what was received from each peer goes in, and changes come out. A peer from which nothing
/// comes is gone after ``silentSecondsMax``, which its keepalives would break; one that sends all
/// the time, as those that ask whether a gateway works, already after ``chattySecondsMax``.
struct RoutePresence: Sendable {
    struct Change: Hashable, Sendable {
        let isUp: Bool
        let prefix: IPPrefix
    }

    private struct Peer: Sendable {
        var receivedBytes: UInt64
        var heardAt: Int64
        /// Looks in a row that found something new.
        var streak = 0
        var isThere = false
    }

    private var peers: [PublicKey: Peer] = [:]
    private var announced: Set<IPPrefix> = []

    /// Looks at all peers; one that is not among them is gone.
    ///
    /// - Parameter now: In seconds of any clock that only goes forward.
    mutating func update(
        _ received: [(key: PublicKey, bytes: UInt64, prefixes: [IPPrefix])], at now: Int64
    ) -> [Change] {
        var next: [PublicKey: Peer] = [:]
        var wanted: Set<IPPrefix> = []
        for (key, bytes, prefixes) in received {
            var peer = peers[key] ?? Peer(receivedBytes: 0, heardAt: now)
            // A counter that went back is of a tunnel made anew.
            if bytes != peer.receivedBytes {
                if bytes > 0 { peer.heardAt = now }
                peer.isThere = bytes > 0
                peer.streak = min(peer.streak + 1, Self.chattyStreak)
                peer.receivedBytes = bytes
            } else {
                let isChatty = peer.streak == Self.chattyStreak
                let limit = isChatty ? Self.chattySecondsMax : Self.silentSecondsMax
                if now >= peer.heardAt + limit { peer.isThere = false }
                // The next look decides by the same measure, until the peer is gone.
                if !isChatty || !peer.isThere { peer.streak = 0 }
            }
            next[key] = peer
            if peer.isThere { wanted.formUnion(prefixes) }
        }
        peers = next
        defer { announced = wanted }
        return announced.subtracting(wanted).sorted().map { Change(isUp: false, prefix: $0) }
            + wanted.subtracting(announced).sorted().map { Change(isUp: true, prefix: $0) }
    }

    /// Takes everything back.
    mutating func end() -> [Change] { update([], at: 0) }

    /// More than three keepalives of 25 seconds.
    static let silentSecondsMax: Int64 = 80
    static let chattySecondsMax: Int64 = 3
    /// Looks after which a peer is one that sends all the time.
    static let chattyStreak = 10
}
