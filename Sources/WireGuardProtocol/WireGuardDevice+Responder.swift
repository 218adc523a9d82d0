import Cryptography
import PacketFormats
import PacketMemory

/// The responder's half of the handshake.
///
/// Source: WireGuard paper, sections 5.4.2 and 5.4.3.
extension WireGuardDevice {
    /// Answers an initiation whose MACs are in order.
    ///
    /// The peer changes only once everything has succeeded; an initiation of our own that is under
    /// way stays, so that two ends that begin at once both get through.
    func receiveInitiation(
        _ message: ByteRegion, from source: Endpoint, privateKey: PrivateKey, now: UInt64
    ) -> ReceiveOutcome {
        var state = SymmetricState(.wireGuard)
        let peer: Peer
        let timestamp: TAI64N
        switch authenticate(message, &state, privateKey, now) {
        case .failure(let drop): return .dropped(drop.reason)
        case .success(let initiation):
            peer = initiation.peer
            timestamp = initiation.timestamp
        }

        typealias Layout = WireGuardMessage.Response
        let response = scratch.message.prefix(Layout.count)
        let remoteEphemeral = PublicKey(
            copying: message.region(at: WireGuardMessage.Initiation.ephemeralOffset, count: 32))
        guard
            NoiseIKpsk2.writeResponse(
                &state, ephemeral: random.privateKey(), remoteEphemeral: remoteEphemeral,
                remoteStatic: peer.publicKey, presharedKey: peer.presharedKey ?? noPresharedKey,
                payload: scratch.empty, fields: .init(of: response))
        else { return .dropped(.lowOrderPublicKey) }

        peer.lastTimestampReceived = timestamp
        peer.lastInitiationAcceptedAt = now
        move(peer, to: source)
        _ = peer.activity.packetReceived(isData: false, byteCount: message.count, now: now)
        respond(to: message, of: peer, with: &state, response, source, now)
        return .accepted(peer.id)
    }

    /// An initiation that is authentic and new.
    private struct AuthenticInitiation {
        var peer: Peer
        var timestamp: TAI64N
    }

    private struct Drop: Error {
        var reason: DropReason
    }

    private func authenticate(
        _ message: ByteRegion, _ state: inout SymmetricState, _ privateKey: PrivateKey,
        _ now: UInt64
    ) -> Result<AuthenticInitiation, Drop> {
        let fields = NoiseIKpsk2.InitiationFields(of: message)
        let remoteStatic: PublicKey
        switch NoiseIKpsk2.readInitiationStatic(
            &state, privateKey: privateKey, fields: fields, scratch: scratch.plaintext)
        {
        case .initiator(let key): remoteStatic = key
        case .lowOrderPublicKey: return .failure(Drop(reason: .lowOrderPublicKey))
        case .notAuthentic: return .failure(Drop(reason: .handshakeAuthenticationFailed))
        }
        guard let id = peerIDs[remoteStatic], let peer = peer(id) else {
            return .failure(Drop(reason: .unknownPeer))
        }
        guard peer.areStaticKeysCompatible else {
            return .failure(Drop(reason: .staticKeysIncompatible))
        }
        let plaintext = scratch.plaintext.prefix(TAI64N.count)
        guard
            NoiseIKpsk2.readInitiationPayload(
                &state, staticStatic: peer.staticStatic, fields: fields, payload: plaintext)
        else { return .failure(Drop(reason: .handshakeAuthenticationFailed)) }
        let timestamp = TAI64N(reading: plaintext)
        guard timestamp > peer.lastTimestampReceived else {
            return .failure(Drop(reason: .replayedTimestamp))
        }
        if let last = peer.lastInitiationAcceptedAt,
            MonotonicTime.elapsed(from: last, to: now)
                <= ImplementationLimits.initiationSpacingNanoseconds
        {
            return .failure(Drop(reason: .initiationFlood))
        }
        return .success(AuthenticInitiation(peer: peer, timestamp: timestamp))
    }

    /// Installs the session, then sends the response: its answer must find the session.
    private func respond(
        to initiation: ByteRegion, of peer: Peer, with state: inout SymmetricState,
        _ response: ByteRegion, _ source: Endpoint, _ now: UInt64
    ) {
        typealias Layout = WireGuardMessage.Response
        let remoteIndex = initiation.littleEndian32(
            at: WireGuardMessage.Initiation.senderIndexOffset)
        let index = makeIndex(of: peer)
        response.storeLittleEndian(WireGuardMessage.Kind.response.rawValue, at: 0)
        response.storeLittleEndian(index, at: Layout.senderIndexOffset)
        response.storeLittleEndian(remoteIndex, at: Layout.receiverIndexOffset)
        peer.cookie.writeMACs(of: response, to: peer.publicKey, now: now)

        var sendKey = Secret32()
        var receiveKey = Secret32()
        state.split(scratch.empty, initiatorKey: &receiveKey, responderKey: &sendKey)
        let session = Session(
            localIndex: index, remoteIndex: remoteIndex, tunnel: tunnel, peer: peer.id,
            isInitiator: false, createdAt: now, activity: peer.activity, sendKey: sendKey,
            receiveKey: receiveKey)
        installResponded(session, of: peer)
        sessionDerived(peer, now: now)
        let message = HandshakeMessage(kind: .response, message: response)
        actions.append(.sendHandshake(message, to: source, peer: peer.id))
        peer.lastHandshakeSentAt = now
        _ = peer.activity.packetSent(isData: false, byteCount: message.count, now: now)
    }
}
