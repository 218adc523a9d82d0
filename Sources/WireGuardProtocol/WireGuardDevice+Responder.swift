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
        // Replaced where the message's own profile shows.
        var state = SymmetricState(.wireGuard)
        let peer: Peer
        let timestamp: TAI64N
        switch authenticate(message, &state, privateKey, now) {
        case .failure(let drop): return .dropped(drop.reason)
        case .success(let initiation):
            peer = initiation.peer
            timestamp = initiation.timestamp
        }
        let response: ByteRegion
        switch writeResponse(to: message, of: peer, &state) {
        case .failure(let drop): return .dropped(drop.reason)
        case .success(let written): response = written
        }

        peer.lastTimestampReceived = timestamp
        peer.lastInitiationAcceptedAt = now
        move(peer, to: source)
        _ = peer.activity.packetReceived(isData: false, byteCount: message.count, now: now)
        respond(to: message, of: peer, with: &state, response, source, now)
        return .accepted(peer.id)
    }

    private struct Drop: Error {
        var reason: DropReason
    }

    /// Whose initiation a message says it is, and for what it was made.
    private struct ClaimedInitiation {
        var initiator: PublicKey
        var profile: TunnelProfile
    }

    /// An initiation that is authentic and new.
    private struct AuthenticInitiation {
        var peer: Peer
        var timestamp: TAI64N
    }

    private func authenticate(
        _ message: ByteRegion, _ state: inout SymmetricState, _ privateKey: PrivateKey,
        _ now: UInt64
    ) -> Result<AuthenticInitiation, Drop> {
        let claimed: ClaimedInitiation
        switch readStatic(message, &state, privateKey) {
        case .failure(let drop): return .failure(drop)
        case .success(let initiation): claimed = initiation
        }
        guard let id = peerIDs[claimed.initiator], let peer = peer(id) else {
            return .failure(Drop(reason: .unknownPeer))
        }
        guard peer.areStaticKeysCompatible else {
            return .failure(Drop(reason: .staticKeysIncompatible))
        }
        guard let timestamp = readTimestamp(message, of: peer, claimed.profile, &state) else {
            return .failure(Drop(reason: .handshakeAuthenticationFailed))
        }
        guard timestamp > peer.lastTimestampReceived else {
            return .failure(Drop(reason: .replayedTimestamp))
        }
        guard claimed.profile == peer.profile else {
            return .failure(Drop(reason: note(claimed.profile, of: peer, timestamp)))
        }
        if let last = peer.lastInitiationAcceptedAt,
            MonotonicTime.elapsed(from: last, to: now)
                <= ImplementationLimits.initiationSpacingNanoseconds
        {
            return .failure(Drop(reason: .initiationFlood))
        }
        return .success(AuthenticInitiation(peer: peer, timestamp: timestamp))
    }

    /// Reads as far as the initiator's static key.
    private func readStatic(
        _ message: ByteRegion, _ state: inout SymmetricState, _ privateKey: PrivateKey
    ) -> Result<ClaimedInitiation, Drop> {
        guard WireGuardMessage.family(of: message) == .wireguard else {
            return readHybridStatic(message, &state, privateKey)
        }
        switch NoiseIKpsk2.readInitiationStatic(
            &state, privateKey: privateKey, fields: .init(of: message), scratch: scratch.plaintext)
        {
        case .initiator(let key):
            return .success(ClaimedInitiation(initiator: key, profile: .wireguard))
        case .lowOrderPublicKey: return .failure(Drop(reason: .lowOrderPublicKey))
        case .notAuthentic: return .failure(Drop(reason: .handshakeAuthenticationFailed))
        }
    }

    /// The cipher is not on the wire. Each is tried; what they cost is little beside the
    /// multiplication, which they share.
    private func readHybridStatic(
        _ message: ByteRegion, _ state: inout SymmetricState, _ privateKey: PrivateKey
    ) -> Result<ClaimedInitiation, Drop> {
        var shared = Secret32()
        guard privateKey.sharedSecret(with: ephemeral(of: message), into: &shared) else {
            return .failure(Drop(reason: .lowOrderPublicKey))
        }
        for profile in TunnelProfile.hybrid where profile.isAvailable {
            state = SymmetricState(profile.noiseStart)
            if let key = NoiseIKhfspsk2.readInitiationStatic(
                &state, ownStatic: privateKey.publicKey, ephemeralStatic: shared,
                fields: .init(of: message), encapsulationKey: scratch.encapsulation,
                scratch: scratch.plaintext)
            {
                return .success(ClaimedInitiation(initiator: key, profile: profile))
            }
        }
        return .failure(Drop(reason: .handshakeAuthenticationFailed))
    }

    /// - Returns: `nil` if the message does not come from who it says.
    private func readTimestamp(
        _ message: ByteRegion, of peer: Peer, _ profile: TunnelProfile,
        _ state: inout SymmetricState
    ) -> TAI64N? {
        let plaintext = scratch.plaintext.prefix(TAI64N.count)
        let field =
            switch profile.family {
            case .wireguard: NoiseIKpsk2.InitiationFields(of: message).encryptedPayload
            case .branchline: NoiseIKhfspsk2.InitiationFields(of: message).encryptedPayload
            }
        let isAuthentic = NoiseIKpsk2.readInitiationPayload(
            &state, staticStatic: peer.staticStatic, encryptedPayload: field, payload: plaintext)
        return isAuthentic ? TAI64N(reading: plaintext) : nil
    }

    /// Keeps for status that a peer speaks another profile, once for each initiation.
    private func note(
        _ spoken: TunnelProfile, of peer: Peer, _ timestamp: TAI64N
    ) -> DropReason {
        if let mismatch = peer.mismatch, timestamp <= mismatch.timestamp {
            return .replayedTimestamp
        }
        peer.mismatch = ProfileMismatch(
            configured: peer.profile, spoken: spoken, noticedAt: wallClockAnchor?.wallClock,
            timestamp: timestamp)
        return .wrongProfile
    }

    /// Writes all of the response but its indices and MACs.
    private func writeResponse(
        to initiation: ByteRegion, of peer: Peer, _ state: inout SymmetricState
    ) -> Result<ByteRegion, Drop> {
        let presharedKey = peer.presharedKey ?? noPresharedKey
        switch peer.profile.family {
        case .wireguard:
            let response = scratch.message.prefix(WireGuardMessage.Response.count)
            let isWritten = NoiseIKpsk2.writeResponse(
                &state, ephemeral: random.privateKey(), remoteEphemeral: ephemeral(of: initiation),
                remoteStatic: peer.publicKey, presharedKey: presharedKey, payload: scratch.empty,
                fields: .init(of: response))
            return isWritten ? .success(response) : .failure(Drop(reason: .lowOrderPublicKey))
        case .branchline:
            let response = scratch.message.prefix(WireGuardMessage.HybridResponse.count)
            switch NoiseIKhfspsk2.writeResponse(
                &state, ephemeral: random.privateKey(), remoteEphemeral: ephemeral(of: initiation),
                encapsulationKey: scratch.encapsulation, remoteStatic: peer.publicKey,
                presharedKey: presharedKey, payload: scratch.empty, fields: .init(of: response))
            {
            case .written: return .success(response)
            case .lowOrderPublicKey: return .failure(Drop(reason: .lowOrderPublicKey))
            case .invalidEncapsulationKey:
                return .failure(Drop(reason: .invalidEncapsulationKey))
            }
        }
    }

    /// Both initiations carry it at the same place.
    private func ephemeral(of initiation: ByteRegion) -> PublicKey {
        PublicKey(
            copying: initiation.region(at: WireGuardMessage.Initiation.ephemeralOffset, count: 32))
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
        // Indices lie at the same places in both families.
        response.storeLittleEndian(
            WireGuardMessage.typeWord(.response, peer.profile.family),
            at: WireGuardMessage.typeOffset)
        response.storeLittleEndian(index, at: Layout.senderIndexOffset)
        response.storeLittleEndian(remoteIndex, at: Layout.receiverIndexOffset)
        peer.cookie.writeMACs(of: response, to: peer.publicKey, now: now)

        var sendKey = Secret32()
        var receiveKey = Secret32()
        state.split(scratch.empty, initiatorKey: &receiveKey, responderKey: &sendKey)
        let session = Session(
            localIndex: index, remoteIndex: remoteIndex, tunnel: tunnel, peer: peer.id,
            profile: peer.profile, isInitiator: false, createdAt: now, activity: peer.activity,
            sendKey: sendKey, receiveKey: receiveKey)
        installResponded(session, of: peer)
        sessionDerived(peer, now: now)
        let message = HandshakeMessage(kind: .response, message: response)
        actions.append(.sendHandshake(message, to: source, peer: peer.id))
        peer.lastHandshakeSentAt = now
        _ = peer.activity.packetSent(isData: false, byteCount: message.count, now: now)
    }
}
