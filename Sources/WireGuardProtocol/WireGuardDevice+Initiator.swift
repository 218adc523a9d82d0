import Cryptography
import PacketFormats
import PacketMemory

/// The initiator's half of the handshake: initiations, their retries, and responses.
///
/// Source: WireGuard paper, sections 5.4.2, 5.4.3 and 6.4.
extension WireGuardDevice {
    /// Begins an attempt to make a session, unless one is under way.
    ///
    /// A peer that was just answered has the same time to confirm its session as to answer one of
    /// ours: an initiation within the round trip would make a second session and cross the first.
    func beginHandshake(_ peer: Peer, now: UInt64, wallClock: WallClock) {
        guard peer.pending == nil else { return }
        if let last = peer.lastHandshakeSentAt {
            let pause = ProtocolConstants.rekeyTimeout
            let last = min(last, now)
            if now - last < pause {
                return schedule(peer, .handshake, at: MonotonicTime.adding(pause, to: last))
            }
        }
        peer.attemptStartedAt = now
        sendInitiation(peer, now: now, wallClock: wallClock)
    }

    /// Sends an initiation with fresh keys, replacing one that got no response.
    func sendInitiation(_ peer: Peer, now: UInt64, wallClock: WallClock) {
        guard let endpoint = peer.endpoint, let privateKey, peer.areStaticKeysCompatible,
            let message = makeInitiation(peer, privateKey, now: now, wallClock: wallClock)
        else { return giveUp(peer, now: now) }
        actions.append(.sendHandshake(message, to: endpoint, peer: peer.id))
        peer.lastHandshakeSentAt = now
        _ = peer.activity.packetSent(isData: false, byteCount: message.count, now: now)
        schedule(
            peer, .handshake,
            at: MonotonicTime.adding(ProtocolConstants.rekeyTimeout + jitter(), to: now))
    }

    private func makeInitiation(
        _ peer: Peer, _ privateKey: PrivateKey, now: UInt64, wallClock: WallClock
    ) -> HandshakeMessage? {
        typealias Layout = WireGuardMessage.Initiation
        let profile = peer.profile
        guard profile.isAvailable else { return nil }
        let timestamp = scratch.plaintext.prefix(TAI64N.count)
        nextTimestamp(for: peer, wallClock).write(to: timestamp)
        var state = SymmetricState(profile.noiseStart)
        let ephemeral = random.privateKey()
        let message: ByteRegion
        let isWritten: Bool
        var decapsulationKey: DecapsulationKey?
        switch profile.family {
        case .wireguard:
            message = scratch.message.prefix(Layout.count)
            isWritten = NoiseIKpsk2.writeInitiation(
                &state, ephemeral: ephemeral, ownStatic: privateKey.publicKey,
                remoteStatic: peer.publicKey, staticStatic: peer.staticStatic,
                payload: timestamp, fields: .init(of: message))
        case .branchline:
            message = scratch.message.prefix(WireGuardMessage.HybridInitiation.count)
            let key = random.decapsulationKey()
            isWritten = NoiseIKhfspsk2.writeInitiation(
                &state, ephemeral: ephemeral, decapsulationKey: key,
                ownStatic: privateKey.publicKey, remoteStatic: peer.publicKey,
                staticStatic: peer.staticStatic, payload: timestamp, fields: .init(of: message))
            decapsulationKey = key
        }
        guard isWritten else { return nil }

        dropPending(peer)
        let index = makeIndex(of: peer)
        peer.pending = PendingInitiation(
            localIndex: index, ephemeral: ephemeral, decapsulationKey: decapsulationKey,
            sentAt: now, state: state)
        // All messages carry their sender's index at the same place.
        message.storeLittleEndian(
            WireGuardMessage.typeWord(.initiation, profile.family),
            at: WireGuardMessage.typeOffset)
        message.storeLittleEndian(index, at: Layout.senderIndexOffset)
        peer.cookie.writeMACs(of: message, to: peer.publicKey, now: now)
        return HandshakeMessage(kind: .initiation, message: message)
    }

    /// A timestamp greater than all before to this peer, even if the wall clock went backwards.
    private func nextTimestamp(for peer: Peer, _ wallClock: WallClock) -> TAI64N {
        timestampFloor = max(timestampFloor, TAI64N(wallClock))
        let timestamp =
            timestampFloor > peer.lastTimestampSent
            ? timestampFloor : peer.lastTimestampSent.successor
        peer.lastTimestampSent = timestamp
        return timestamp
    }

    /// Makes the session that a response completes.
    func receiveResponse(
        _ message: ByteRegion, from source: Endpoint, privateKey: PrivateKey, now: UInt64
    ) -> ReceiveOutcome {
        typealias Layout = WireGuardMessage.Response
        let receiver = message.littleEndian32(at: Layout.receiverIndexOffset)
        guard let id = indices.peer(of: receiver, in: tunnel) else {
            return .dropped(.unknownReceiverIndex)
        }
        guard let peer = peer(id), let pending = peer.pending,
            pending.localIndex == receiver
        else { return .dropped(.responseWithoutInitiation) }
        guard WireGuardMessage.family(of: message) == peer.profile.family else {
            return .dropped(.wrongProfile)
        }
        guard peer.next?.isConfirmed != true else { return .dropped(.crossedInitiation) }

        var state = SymmetricState(
            chainingKey: pending.chainingKey, hash: pending.hash,
            cipher: peer.profile.handshakeCipher)
        switch readResponse(message, of: peer, pending, privateKey, &state) {
        case .authentic: break
        case .lowOrderPublicKey: return .dropped(.lowOrderPublicKey)
        case .notAuthentic: return .dropped(.handshakeAuthenticationFailed)
        }

        var sendKey = Secret32()
        var receiveKey = Secret32()
        state.split(scratch.empty, initiatorKey: &sendKey, responderKey: &receiveKey)
        let session = Session(
            localIndex: receiver,
            remoteIndex: message.littleEndian32(at: Layout.senderIndexOffset), tunnel: tunnel,
            peer: peer.id, profile: peer.profile, isInitiator: true, createdAt: now,
            activity: peer.activity, sendKey: sendKey, receiveKey: receiveKey)
        move(peer, to: source)
        _ = peer.activity.packetReceived(isData: false, byteCount: message.count, now: now)
        // From now on the index stands for the session.
        peer.pending = nil
        installInitiated(session, of: peer, initiatedAt: pending.sentAt, now: now)
        sessionDerived(peer, now: now)
        completeHandshake(peer, now: now)
        actions.append(.sendStagedOrKeepalive(peer.id))
        return .accepted(peer.id)
    }

    private func readResponse(
        _ message: ByteRegion, of peer: Peer, _ pending: PendingInitiation,
        _ privateKey: PrivateKey, _ state: inout SymmetricState
    ) -> NoiseIKpsk2.ResponseOutcome {
        let presharedKey = peer.presharedKey ?? noPresharedKey
        guard let decapsulationKey = pending.decapsulationKey else {
            return NoiseIKpsk2.readResponse(
                &state, ephemeral: pending.ephemeral, privateKey: privateKey,
                presharedKey: presharedKey, fields: .init(of: message), payload: scratch.empty)
        }
        return NoiseIKhfspsk2.readResponse(
            &state, ephemeral: pending.ephemeral, decapsulationKey: decapsulationKey,
            privateKey: privateKey, presharedKey: presharedKey, fields: .init(of: message),
            ciphertext: scratch.encapsulation.prefix(KeyEncapsulation.ciphertextCount),
            payload: scratch.empty)
    }

    /// Starts the time after which keys that were not renewed are wiped.
    func sessionDerived(_ peer: Peer, now: UInt64) {
        schedule(
            peer, .zeroKeys,
            at: MonotonicTime.adding(ProtocolConstants.zeroKeysAfterTime, to: now))
    }
}
