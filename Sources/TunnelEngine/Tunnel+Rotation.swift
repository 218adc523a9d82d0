import Cryptography
import Logging
import WireGuardConfiguration
import WireGuardProtocol

/// Keys that change under sessions that live on.
extension Tunnel {
    /// Refuses a request whose new keys would be in use already when their turn comes, before
    /// anything of it is carried out.
    func checkRotation(_ changes: DeviceSettings) throws(UAPIError) {
        guard changes.rotatesPrivateKey || changes.peers.contains(where: { $0.successorKey != nil })
        else { return }
        var plan = KeyPlan(own: device.publicKey) { [device] in device.peerID($0) != nil }
        if let change = changes.privateKey {
            try plan.setOwn(change.secret?.publicKey, rotates: changes.rotatesPrivateKey)
        }
        if changes.replacePeers { plan.removeAll() }
        for peer in changes.peers { try plan.apply(peer) }
    }

    func setPrivateKey(_ key: PrivateKey?, rotates: Bool, _ now: UInt64) throws(UAPIError) {
        guard rotates, let key else { return device.setPrivateKey(key, now: now) }
        do {
            try device.rotatePrivateKey(key, now: now)
        } catch {
            throw UAPIError(error)
        }
        log.info("the interface's key is now \(PeerState(publicKey: key.publicKey).name)")
    }

    func replacePublicKey(
        of id: PeerID, _ successor: PublicKey, _ now: UInt64
    ) throws(UAPIError) {
        do {
            try device.replacePublicKey(of: id, with: successor, now: now)
        } catch {
            throw UAPIError(error)
        }
        guard let old = peers[id], old.publicKey != successor else { return }
        var peer = old
        peer.publicKey = successor
        peers[id] = peer
        moveQoS(from: old.publicKey, to: successor)
        log.info("peer \(old.name): its key is now \(peer.name)")
    }
}

/// Which keys would be in use in the course of a request, without carrying it out.
struct KeyPlan {
    private var own: PublicKey?
    private var isPeerNow: (PublicKey) -> Bool
    /// Where it will differ from now.
    private var changes: [PublicKey: Bool] = [:]

    /// - Parameter isPeer: Whether a peer has the key before the request.
    init(own: PublicKey?, isPeer: @escaping (PublicKey) -> Bool) {
        self.own = own
        isPeerNow = isPeer
    }

    private func isPeer(_ key: PublicKey) -> Bool { changes[key] ?? isPeerNow(key) }

    mutating func setOwn(_ key: PublicKey?, rotates: Bool) throws(UAPIError) {
        if rotates {
            guard let key else {
                throw UAPIError(.invalid, "a private key cannot be rotated to none")
            }
            if isPeer(key) { throw UAPIError(KeyRotationError.keyOfAnotherPeer) }
        } else if let key {
            changes[key] = false
        }
        own = key
    }

    mutating func removeAll() {
        isPeerNow = { _ in false }
        changes = [:]
    }

    mutating func apply(_ peer: PeerSettings) throws(UAPIError) {
        let key = peer.publicKey
        if peer.remove { return changes[key] = false }
        if !isPeer(key) {
            // A peer with the interface's own key is never added.
            if peer.updateOnly || key == own { return }
            changes[key] = true
        }
        guard let successor = peer.successorKey, successor != key else { return }
        if successor == own { throw UAPIError(KeyRotationError.keyOfDevice) }
        if isPeer(successor) { throw UAPIError(KeyRotationError.keyOfAnotherPeer) }
        changes[key] = false
        changes[successor] = true
    }
}

extension UAPIError {
    fileprivate init(_ error: KeyRotationError) {
        let reason =
            switch error {
            case .unknownPeer: "a peer without a key cannot get another one"
            case .keyOfAnotherPeer: "the new key is that of another peer"
            case .keyOfDevice: "the new key of a peer is that of the interface"
            }
        self.init(.invalid, reason)
    }
}
