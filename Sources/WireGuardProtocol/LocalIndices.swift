/// Number of a device among those that share workers and a UDP port.
public typealias TunnelID = Int32

/// Whose session or initiation each local index stands for, over all devices of one engine: an
/// index names a device before anything of a datagram has been decrypted.
///
/// One thread owns it together with its devices.
public final class LocalIndices {
    struct Owner: Equatable {
        var tunnel: TunnelID
        var peer: PeerID
    }

    private var owners: [UInt32: Owner] = [:]

    public init() {}

    /// Indices in use.
    public var count: Int { owners.count }

    /// The device that handed the index out and has not taken it back.
    public func tunnel(of index: UInt32) -> TunnelID? { owners[index]?.tunnel }

    /// - Returns: `nil` for an index of another device, too.
    func peer(of index: UInt32, in tunnel: TunnelID) -> PeerID? {
        guard let owner = owners[index], owner.tunnel == tunnel else { return nil }
        return owner.peer
    }

    /// - Returns: `false` if the index is in use.
    func reserve(_ index: UInt32, for peer: PeerID, in tunnel: TunnelID) -> Bool {
        guard owners[index] == nil else { return false }
        owners[index] = Owner(tunnel: tunnel, peer: peer)
        return true
    }

    func release(_ index: UInt32) { owners[index] = nil }
}

/// Where datagrams of one device arrive: which bits of a local index the kernel steers by.
///
/// The low byte of an index, modulo ``workerCount``, is a worker; its next byte, modulo
/// ``laneCount``, is a lane: a socket of its own, so that a flood fills nobody else's.
public struct ReceivePlacement: Hashable, Sendable {
    /// 1...256.
    public let workerCount: Int
    /// 1...256.
    public let laneCount: Int
    /// The device's, below ``laneCount``.
    public let lane: Int

    /// - Precondition: Each within its bounds.
    public init(workerCount: Int, laneCount: Int = 1, lane: Int = 0) {
        precondition(
            (1...ImplementationLimits.workerCountMax).contains(workerCount),
            "the low byte of an index selects one of at most 256 workers")
        precondition(
            (1...ImplementationLimits.laneCountMax).contains(laneCount)
                && (0..<laneCount).contains(lane),
            "the second byte of an index selects one of at most 256 lanes")
        self.workerCount = workerCount
        self.laneCount = laneCount
        self.lane = lane
    }

    /// A random index whose low bytes select `worker` and the lane.
    func index(worker: Int, random word: UInt32) -> UInt32 {
        let low = Self.byte(word & 0xff, congruentTo: worker, modulo: workerCount)
        let second = Self.byte(word >> 8 & 0xff, congruentTo: lane, modulo: laneCount)
        return word & ~0xffff | second << 8 | low
    }

    /// One of residue, residue + modulus, ... up to 255.
    private static func byte(
        _ random: UInt32, congruentTo residue: Int, modulo modulus: Int
    ) -> UInt32 {
        let choices = (255 - residue) / modulus + 1
        return UInt32(residue + Int(random) % choices * modulus)
    }
}
