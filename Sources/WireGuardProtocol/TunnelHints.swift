public import PacketFormats

/// Remembers which tunnel a source address last had a message for: a guess that saves a search.
///
/// A direct-mapped table: sources that share a place take it from each other.
public struct TunnelHints: ~Copyable {
    private var tunnels = FixedTable<Int32>(repeating: -1, count: ImplementationLimits.tunnelHints)
    private let seed: UInt64

    /// - Parameter seed: A secret number keeps outsiders from choosing addresses that collide.
    public init(seed: UInt64) { self.seed = seed }

    public subscript(source: IPAddress) -> Int32? {
        let tunnel = tunnels[place(of: source)]
        return tunnel < 0 ? nil : tunnel
    }

    /// Call only when the message turned out to be valid for the tunnel.
    public mutating func note(_ tunnel: Int32, for source: IPAddress) {
        tunnels[place(of: source)] = tunnel
    }

    private func place(of source: IPAddress) -> Int {
        // Multiply and fold, once for each half: the seed goes through both.
        let first = (source.high ^ seed).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
        let second = (source.low ^ first.high ^ first.low)
            .multipliedFullWidth(by: 0xc2b2_ae3d_27d4_eb4f)
        return Int(truncatingIfNeeded: second.high ^ second.low) & (tunnels.count &- 1)
    }
}
