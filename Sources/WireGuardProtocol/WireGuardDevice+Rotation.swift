public import Cryptography

/// Why a key was not replaced by another one.
public enum KeyRotationError: Error, Hashable, Sendable {
    case unknownPeer
    /// Some peer, another one where a peer's key is replaced, has the new key.
    case keyOfAnotherPeer
    /// A peer cannot have the device's own key.
    case keyOfDevice
}

/// New static keys under sessions that live on.
///
/// A static key takes part in handshakes only, so sessions, what is staged, endpoints and timers
/// stay, and the next handshake uses the new key. Both ends need not switch at the same moment:
/// while they disagree, handshakes fail and are tried again, and packets flow with the sessions
/// there are. Nothing is lost if both have switched ``ProtocolConstants/rekeyTimeout`` before the
/// session ends.
///
/// Source: WireGuard paper, sections 5.4.2 and 6.
extension WireGuardDevice {
    /// Replaces the private key while the sessions of all peers stay in force.
    ///
    /// Initiations under way are forgotten and begun anew. Without a key before, it is as
    /// ``setPrivateKey(_:now:)``.
    /// - Throws: ``KeyRotationError/keyOfAnotherPeer``; then nothing has changed.
    /// - Complexity: One X25519 multiplication for each peer.
    public func rotatePrivateKey(
        _ key: PrivateKey, now: UInt64
    ) throws(KeyRotationError) {
        guard peerIDs[key.publicKey] == nil else { throw .keyOfAnotherPeer }
        guard let privateKey else { return setPrivateKey(key, now: now) }
        if key.isEqual(to: privateKey) { return }
        self.privateKey = key
        cookieChecker?.changeOwner(to: key.publicKey)
        for case let peer? in peers { adoptStaticKeys(peer, now: now) }
    }

    /// Replaces a peer's public key while all else of it stays.
    ///
    /// Handshakes by the old key are an unknown peer's from now on. An initiation under way is
    /// forgotten and begun anew.
    /// - Throws: Also for a key that another peer or the device itself has; then nothing has
    ///   changed.
    public func replacePublicKey(
        of id: PeerID, with key: PublicKey, now: UInt64
    ) throws(KeyRotationError) {
        guard let peer = peer(id) else { throw .unknownPeer }
        if key == peer.publicKey { return }
        guard key != privateKey?.publicKey else { throw .keyOfDevice }
        guard peerIDs[key] == nil else { throw .keyOfAnotherPeer }
        peerIDs[peer.publicKey] = nil
        peerIDs[key] = id
        peer.publicKey = key
        peer.mismatch = nil
        adoptStaticKeys(peer, now: now)
    }

    /// Takes up a pair of static keys of which at least one is new.
    private func adoptStaticKeys(_ peer: Peer, now: UInt64) {
        computeStaticStatic(of: peer)
        guard peer.pending != nil else { return }
        dropPending(peer)
        // No sooner than one initiation may follow another.
        schedule(peer, .handshake, at: now)
    }
}
