public import Cryptography
import PacketFormats
public import PacketMemory

/// Which of many devices a handshake message is for: the one whose public key its `mac1` is made
/// with. Nothing else in an initiation names its receiver.
///
/// Source: WireGuard paper, section 5.4.4; article ProfileBranchline, section 6.
public struct MAC1Directory: ~Copyable {
    private var table = BLAKE2sKeyTable()
    /// Tunnels in the order of their keys in the table.
    private var tunnels: [Int32] = []
    private var keys: [Digest32] = []
    private var places: [Int32: Int] = [:]
    private var owners: [Digest32: Int32] = [:]

    public init() {}

    /// Tunnels that have a key.
    public var count: Int { tunnels.count }

    /// The tunnel that has a key.
    public func owner(of publicKey: PublicKey) -> Int32? {
        owners[MessageMAC.mac1Key(of: publicKey)]
    }

    /// Gives a tunnel a key, or another one.
    ///
    /// - Returns: `false`, with nothing changed, if another tunnel has this key: their messages
    ///   could not be told apart.
    public mutating func set(_ publicKey: PublicKey, for tunnel: Int32) -> Bool {
        let key = MessageMAC.mac1Key(of: publicKey)
        if let owner = owners[key] { return owner == tunnel }
        if let place = places[tunnel] {
            owners[keys[place]] = nil
            keys[place] = key
            table.replace(place, with: key)
        } else {
            places[tunnel] = tunnels.count
            tunnels.append(tunnel)
            keys.append(key)
            table.append(key)
        }
        owners[key] = tunnel
        return true
    }

    /// Forgets a tunnel, if it is known.
    public mutating func remove(_ tunnel: Int32) {
        guard let place = places.removeValue(forKey: tunnel) else { return }
        owners[keys[place]] = nil
        // The last one takes its place.
        let last = tunnels.count - 1
        if place != last {
            tunnels[place] = tunnels[last]
            keys[place] = keys[last]
            places[tunnels[place]] = place
            table.replace(place, with: keys[place])
        }
        tunnels.removeLast()
        keys.removeLast()
        table.removeLast()
    }

    /// The tunnel that a handshake message is for.
    ///
    /// - Parameter message: Any bytes; its last 32 are `mac1` and `mac2`, and its type tells what
    ///   `mac1` covers.
    /// - Parameter hint: A tunnel to try first, whether it exists or not.
    /// - Returns: `nil` if `mac1` is valid under no tunnel's key.
    /// - Complexity: O(tunnels) where the hint is wrong: two hash blocks for each with WireGuard's
    ///   initiation, one with that of profile `branchline`, which is hashed once before.
    public func find(_ message: ByteRegion, hint: Int32? = nil) -> Int32? {
        guard message.count > 2 * MAC16.count, count > 0 else { return nil }
        let index = MessageMAC.withMAC1Input(message) {
            table.firstIndex(
                of: $0, mac: MessageMAC.mac1Field(message), hint: hint.flatMap { places[$0] })
        }
        return index.map { tunnels[$0] }
    }
}
