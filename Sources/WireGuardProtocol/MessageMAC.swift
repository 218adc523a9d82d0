import Cryptography
import PacketFormats
import PacketMemory

/// Keys derived from a public key and a label, and the places of both MACs.
///
/// Source: WireGuard paper, sections 5.4.4 and 5.4.7; for profile `branchline` the article
/// ProfileBranchline, section 6.
enum MessageMAC {
    /// The key of `mac1` in messages sent to the owner of `publicKey`.
    static func mac1Key(of publicKey: PublicKey) -> Digest32 {
        derive(mac1Label, publicKey)
    }

    /// The key that encrypts cookies which the owner of `publicKey` hands out.
    static func cookieKey(of publicKey: PublicKey) -> Digest32 {
        derive(cookieLabel, publicKey)
    }

    /// The `mac1` of a message, under the receiver's key.
    ///
    /// - Parameter message: Longer than both MACs, with its type in place.
    static func mac1(of message: ByteRegion, key: Digest32) -> MAC16 {
        withMAC1Input(message) { input in key.withBytes { BLAKE2s.mac(key: $0, input) } }
    }

    /// Lends what `mac1` is the MAC of: all of the message before the field, and in profile
    /// `branchline` the hash of that, so that a long message is hashed once for many keys.
    ///
    /// - Parameter message: As for ``mac1(of:key:)``.
    static func withMAC1Input<Result>(
        _ message: ByteRegion, _ body: (ByteRegion) -> Result
    ) -> Result {
        let covered = message.prefix(message.count - 2 * MAC16.count)
        switch WireGuardMessage.family(of: message) {
        case .wireguard: return body(covered)
        case .branchline: return BLAKE2s.hash(covered).withBytes(body)
        }
    }

    static func mac1Field(_ message: ByteRegion) -> ByteRegion {
        message.region(at: message.count - 2 * MAC16.count, count: MAC16.count)
    }

    /// What `mac2` covers; the field itself follows it.
    static func mac2Input(_ message: ByteRegion) -> ByteRegion {
        message.prefix(message.count - MAC16.count)
    }

    static func mac2Field(_ message: ByteRegion) -> ByteRegion {
        message.region(at: message.count - MAC16.count, count: MAC16.count)
    }

    private static func derive(_ label: Digest32, _ publicKey: PublicKey) -> Digest32 {
        label.withBytes { label in
            publicKey.withBytes { BLAKE2s.hash(label.prefix(labelCount), $0) }
        }
    }

    private static let labelCount = 8
    private static let mac1Label = text(ProtocolConstants.mac1Label)
    private static let cookieLabel = text(ProtocolConstants.cookieLabel)

    private static func text(_ label: String) -> Digest32 {
        var result = Digest32()
        result.withMutableBytes { region in
            for (offset, byte) in label.utf8.prefix(labelCount).enumerated() {
                region[offset] = byte
            }
        }
        return result
    }
}
