public import Cryptography

/// What a `get=1` request answers.
public struct DeviceStatus: Sendable {
    public var privateKey: PrivateKey?
    /// 0 while no socket is bound.
    public var listenPort: UInt16
    /// 0 where there is none.
    public var firewallMark: UInt32
    public var peers: [PeerStatus]

    public init(
        privateKey: PrivateKey? = nil, listenPort: UInt16 = 0, firewallMark: UInt32 = 0,
        peers: [PeerStatus] = []
    ) {
        self.privateKey = privateKey
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.peers = peers
    }
}
