public import PacketFormats

extension Grant {
    /// What the tunnel between this node and another one speaks, by their grants.
    ///
    /// Both ends come to the same, and nothing but the two signed grants decides. A grant names
    /// the least that its node is content with: where either names `branchline`, that is what both
    /// speak or nothing. Of two that name it with different ciphers it is ChaCha20-Poly1305, as
    /// every machine has the means for that.
    public func profile(with other: Grant) -> TunnelProfile {
        if profile == other.profile { return profile }
        if profile == .wireguard { return other.profile }
        if other.profile == .wireguard { return profile }
        return .branchlineChaCha
    }
}
