/// The protocol between two nodes, with its cipher. Nothing on the wire negotiates it.
public enum TunnelProfile: String, CaseIterable, Hashable, Sendable {
    /// WireGuard to the byte, with ChaCha20-Poly1305.
    case wireguard = "wireguard"
    /// Hybrid handshake, ChaCha20-Poly1305.
    case branchlineChaCha = "branchline-chacha20poly1305"
    /// Hybrid handshake, AES-256-GCM.
    case branchlineAES = "branchline-aes256gcm"

    /// What its messages look like.
    @inlinable public var family: WireGuardMessage.Family {
        self == .wireguard ? .wireguard : .branchline
    }

    /// Whether keys stay secret from who records the handshake and has a quantum computer later.
    @inlinable public var isPostQuantum: Bool { family == .branchline }
}
