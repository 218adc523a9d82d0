/// The protocol between two nodes, with its cipher. Nothing on the wire negotiates it.
public enum TunnelProfile: String, CaseIterable, Hashable, Sendable {
    /// WireGuard to the byte, with ChaCha20-Poly1305.
    case wireguard = "wireguard"
    /// Hybrid handshake, ChaCha20-Poly1305.
    case branchlineChaCha = "branchline-chacha20poly1305"
    /// Hybrid handshake, AES-256-GCM.
    case branchlineAES = "branchline-aes256gcm"
}
