import Cryptography
import LinuxNetworking
import PacketFormats
import WireGuardProtocol

/// One WireGuard device with one peer: the gateway, as its tenant knows it.
final class EmulatedPeer {
    let tenant: Int
    /// Its number within the tenant, which decides its inner address.
    let number: Int
    /// Which of the emulator's ports it uses.
    let port: Int
    let device: WireGuardDevice
    let gateway: PeerID
    let activity: PeerActivity
    /// The session to send with.
    var sending: Session?
    /// Local index of the initiation that waits for its response.
    var pendingIndex: UInt32?
    /// When the handshake that is being measured began.
    var handshakeBeganAt: UInt64?

    init?(
        tenant: Int, number: Int, port: Int, key: PrivateKey, gatewayKey: PublicKey,
        gateway endpoint: Endpoint, profile: TunnelProfile = .wireguard, now: UInt64
    ) {
        self.tenant = tenant
        self.number = number
        self.port = port
        device = WireGuardDevice(workerCount: 1)
        device.setPrivateKey(key, now: now)
        guard let gateway = device.addPeer(gatewayKey, now: now),
            let activity = device.activity(gateway)
        else { return nil }
        self.gateway = gateway
        self.activity = activity
        device.setProfile(gateway, profile, now: now)
        device.setEndpoint(gateway, endpoint, now: now)
        while device.actions.popFirst() != nil {}
    }

    /// The session to send with, if it still serves.
    func usableSession(now: UInt64) -> Session? {
        guard let sending, sending.isUsableForSending(now: now) else { return nil }
        return sending
    }

    /// Begins a handshake now, forgetting any session: what a peer does that starts anew.
    func beginHandshakeAnew(now: UInt64, wallClock: WallClock) {
        device.expireAllKeys()
        beginHandshake(now: now, wallClock: wallClock)
    }

    func beginHandshake(now: UInt64, wallClock: WallClock) {
        _ = activity.requestHandshake()
        device.noteActivity(gateway, now: now)
        device.advance(now: now, wallClock: wallClock)
    }
}
