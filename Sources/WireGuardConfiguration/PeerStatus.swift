public import Cryptography
public import PacketFormats

/// One peer of a `get=1` answer.
public struct PeerStatus: Sendable {
    public var publicKey: PublicKey
    /// `nil` for none, which the answer writes as 32 zero bytes.
    public var presharedKey: PresharedKey?
    /// What the peer is configured for; the answer mentions it unless it is `wireguard`.
    public var profile: TunnelProfile
    public var endpoint: Endpoint?
    /// Wall clock, seconds since 1970; 0 before the first handshake.
    public var lastHandshakeSeconds: UInt64
    public var lastHandshakeNanoseconds: UInt32
    /// Bytes of datagrams sent to the peer.
    public var transmittedBytes: UInt64
    /// Bytes of authenticated datagrams from the peer.
    public var receivedBytes: UInt64
    /// 0 where it is off.
    public var persistentKeepaliveSeconds: UInt16
    public var allowedIPs: [IPPrefix]

    public init(
        publicKey: PublicKey, presharedKey: PresharedKey? = nil,
        profile: TunnelProfile = .wireguard, endpoint: Endpoint? = nil,
        lastHandshakeSeconds: UInt64 = 0, lastHandshakeNanoseconds: UInt32 = 0,
        transmittedBytes: UInt64 = 0, receivedBytes: UInt64 = 0,
        persistentKeepaliveSeconds: UInt16 = 0, allowedIPs: [IPPrefix] = []
    ) {
        self.publicKey = publicKey
        self.presharedKey = presharedKey
        self.profile = profile
        self.endpoint = endpoint
        self.lastHandshakeSeconds = lastHandshakeSeconds
        self.lastHandshakeNanoseconds = lastHandshakeNanoseconds
        self.transmittedBytes = transmittedBytes
        self.receivedBytes = receivedBytes
        self.persistentKeepaliveSeconds = persistentKeepaliveSeconds
        self.allowedIPs = allowedIPs
    }
}
