import Cryptography
import PacketMemory

/// The two messages of the Noise pattern IKpsk2, field by field:
///
///     <- s
///     ...
///     -> e, es, s, ss
///     <- e, ee, se, psk
///
/// Callers pass a state that starts the handshake and throw it away if a step fails. The
/// static-static secret comes from the caller, as it is the same for all handshakes of a peer.
///
/// Source: Noise Protocol Framework, sections 7.5 and 9; WireGuard paper, section 5.4.
enum NoiseIKpsk2 {
    /// Where the fields of the first message lie.
    struct InitiationFields {
        /// 32 bytes.
        var ephemeral: ByteRegion
        /// 48 bytes.
        var encryptedStatic: ByteRegion
        /// The payload and 16 bytes.
        var encryptedPayload: ByteRegion
    }

    /// Where the fields of the second message lie.
    struct ResponseFields {
        /// 32 bytes.
        var ephemeral: ByteRegion
        /// The payload and 16 bytes.
        var encryptedPayload: ByteRegion
    }

    enum StaticOutcome {
        case initiator(PublicKey)
        case lowOrderPublicKey
        case notAuthentic
    }

    enum ResponseOutcome {
        case authentic
        case lowOrderPublicKey
        case notAuthentic
    }

    /// - Returns: `false` if the responder's static key is of low order.
    static func writeInitiation(
        _ state: inout SymmetricState, ephemeral: PrivateKey, ownStatic: PublicKey,
        remoteStatic: PublicKey, staticStatic: borrowing Secret32, payload: ByteRegion,
        fields: InitiationFields
    ) -> Bool {
        var shared = Secret32()
        state.mixHash(remoteStatic)
        // e
        ephemeral.publicKey.withBytes { fields.ephemeral.copy(from: $0) }
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // es
        guard ephemeral.sharedSecret(with: remoteStatic, into: &shared) else { return false }
        state.mixKey(shared)
        // s
        ownStatic.withBytes { state.encryptAndHash($0, into: fields.encryptedStatic) }
        // ss
        state.mixKey(staticStatic)
        // {t}
        state.encryptAndHash(payload, into: fields.encryptedPayload)
        return true
    }

    /// Reads as far as the initiator's static key, which tells whose handshake it is.
    ///
    /// - Parameter scratch: 32 bytes.
    static func readInitiationStatic(
        _ state: inout SymmetricState, privateKey: PrivateKey, fields: InitiationFields,
        scratch: ByteRegion
    ) -> StaticOutcome {
        var shared = Secret32()
        state.mixHash(privateKey.publicKey)
        // e
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // es
        let remoteEphemeral = PublicKey(copying: fields.ephemeral)
        guard privateKey.sharedSecret(with: remoteEphemeral, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixKey(shared)
        // s
        guard state.decryptAndHash(fields.encryptedStatic, into: scratch) else {
            return .notAuthentic
        }
        return .initiator(PublicKey(copying: scratch))
    }

    /// Reads the rest of the first message, which is the same in ``NoiseIKhfspsk2``.
    ///
    /// - Parameter payload: 16 bytes shorter than its field.
    static func readInitiationPayload(
        _ state: inout SymmetricState, staticStatic: borrowing Secret32,
        encryptedPayload: ByteRegion, payload: ByteRegion
    ) -> Bool {
        // ss
        state.mixKey(staticStatic)
        // {t}
        return state.decryptAndHash(encryptedPayload, into: payload)
    }

    /// - Returns: `false` if a key of the initiator is of low order.
    static func writeResponse(
        _ state: inout SymmetricState, ephemeral: PrivateKey, remoteEphemeral: PublicKey,
        remoteStatic: PublicKey, presharedKey: PresharedKey, payload: ByteRegion,
        fields: ResponseFields
    ) -> Bool {
        var shared = Secret32()
        // e
        ephemeral.publicKey.withBytes { fields.ephemeral.copy(from: $0) }
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // ee
        guard ephemeral.sharedSecret(with: remoteEphemeral, into: &shared) else { return false }
        state.mixChainingKey(shared)
        // se
        guard ephemeral.sharedSecret(with: remoteStatic, into: &shared) else { return false }
        state.mixChainingKey(shared)
        // psk
        state.mixKeyAndHash(presharedKey)
        // {}
        state.encryptAndHash(payload, into: fields.encryptedPayload)
        return true
    }

    /// - Parameter payload: 16 bytes shorter than its field.
    static func readResponse(
        _ state: inout SymmetricState, ephemeral: PrivateKey, privateKey: PrivateKey,
        presharedKey: PresharedKey, fields: ResponseFields, payload: ByteRegion
    ) -> ResponseOutcome {
        var shared = Secret32()
        let remoteEphemeral = PublicKey(copying: fields.ephemeral)
        // e
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // ee
        guard ephemeral.sharedSecret(with: remoteEphemeral, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixChainingKey(shared)
        // se
        guard privateKey.sharedSecret(with: remoteEphemeral, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixChainingKey(shared)
        // psk
        state.mixKeyAndHash(presharedKey)
        // {}
        return state.decryptAndHash(fields.encryptedPayload, into: payload)
            ? .authentic : .notAuthentic
    }
}
