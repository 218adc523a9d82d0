import Cryptography
import PacketMemory

/// The two messages of the Noise pattern IKhfs+psk2, field by field: IKpsk2 with a key
/// encapsulation beside the ephemeral keys.
///
///     <- s
///     ...
///     -> e, es, e1, s, ss
///     <- e, ee, ekem1, se, psk
///
/// Callers pass a state that starts the handshake and throw it away if a step fails.
///
/// Source: Noise Protocol Framework, sections 7.5 and 9; Noise extension for hybrid forward secrecy
/// (tokens e1 and ekem1).
enum NoiseIKhfspsk2 {
    /// Where the fields of the first message lie.
    struct InitiationFields {
        /// 32 bytes.
        var ephemeral: ByteRegion
        /// 1,184 and 16 bytes.
        var encryptedEncapsulationKey: ByteRegion
        /// 48 bytes.
        var encryptedStatic: ByteRegion
        /// The payload and 16 bytes.
        var encryptedPayload: ByteRegion
    }

    /// Where the fields of the second message lie.
    struct ResponseFields {
        /// 32 bytes.
        var ephemeral: ByteRegion
        /// 1,088 and 16 bytes.
        var encryptedCiphertext: ByteRegion
        /// The payload and 16 bytes.
        var encryptedPayload: ByteRegion
    }

    enum WriteOutcome {
        case written
        case lowOrderPublicKey
        case invalidEncapsulationKey
    }

    /// - Returns: `false` if the responder's static key is of low order.
    static func writeInitiation(
        _ state: inout SymmetricState, ephemeral: PrivateKey, decapsulationKey: DecapsulationKey,
        ownStatic: PublicKey, remoteStatic: PublicKey, staticStatic: borrowing Secret32,
        payload: ByteRegion, fields: InitiationFields
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
        // e1
        let encapsulationKey = fields.encryptedEncapsulationKey.prefix(
            KeyEncapsulation.encapsulationKeyCount)
        decapsulationKey.writeEncapsulationKey(to: encapsulationKey)
        state.encryptAndHash(encapsulationKey, into: fields.encryptedEncapsulationKey)
        // s
        ownStatic.withBytes { state.encryptAndHash($0, into: fields.encryptedStatic) }
        // ss
        state.mixKey(staticStatic)
        // {t}
        state.encryptAndHash(payload, into: fields.encryptedPayload)
        return true
    }

    /// Reads as far as the initiator's static key, which tells whose handshake it is. The rest is
    /// read as in ``NoiseIKpsk2``.
    ///
    /// - Parameters:
    ///   - ephemeralStatic: Diffie-Hellman of the initiator's ephemeral and our static key, which
    ///     is the same whatever the state started with.
    ///   - encapsulationKey: 1,184 bytes, overwritten; not yet looked at.
    ///   - scratch: 32 bytes.
    /// - Returns: `nil` if the message was made for another key, or with another start.
    static func readInitiationStatic(
        _ state: inout SymmetricState, ownStatic: PublicKey,
        ephemeralStatic: borrowing Secret32, fields: InitiationFields,
        encapsulationKey: ByteRegion, scratch: ByteRegion
    ) -> PublicKey? {
        state.mixHash(ownStatic)
        // e
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // es
        state.mixKey(ephemeralStatic)
        // e1
        guard
            state.decryptAndHash(fields.encryptedEncapsulationKey, into: encapsulationKey),
            // s
            state.decryptAndHash(fields.encryptedStatic, into: scratch)
        else { return nil }
        return PublicKey(copying: scratch)
    }

    /// Call only for an initiation that has authenticated.
    static func writeResponse(
        _ state: inout SymmetricState, ephemeral: PrivateKey, remoteEphemeral: PublicKey,
        encapsulationKey: ByteRegion, remoteStatic: PublicKey, presharedKey: PresharedKey,
        payload: ByteRegion, fields: ResponseFields
    ) -> WriteOutcome {
        var shared = Secret32()
        // e
        ephemeral.publicKey.withBytes { fields.ephemeral.copy(from: $0) }
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // ee
        guard ephemeral.sharedSecret(with: remoteEphemeral, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixKey(shared)
        // ekem1
        let ciphertext = fields.encryptedCiphertext.prefix(KeyEncapsulation.ciphertextCount)
        guard
            KeyEncapsulation.encapsulate(
                to: encapsulationKey, ciphertext: ciphertext, into: &shared)
        else { return .invalidEncapsulationKey }
        state.encryptAndHash(ciphertext, into: fields.encryptedCiphertext)
        state.mixChainingKey(shared)
        // se
        guard ephemeral.sharedSecret(with: remoteStatic, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixChainingKey(shared)
        // psk
        state.mixKeyAndHash(presharedKey)
        // {}
        state.encryptAndHash(payload, into: fields.encryptedPayload)
        return .written
    }

    /// - Parameters:
    ///   - ciphertext: 1,088 bytes, overwritten.
    ///   - payload: 16 bytes shorter than its field.
    static func readResponse(
        _ state: inout SymmetricState, ephemeral: PrivateKey, decapsulationKey: DecapsulationKey,
        privateKey: PrivateKey, presharedKey: PresharedKey, fields: ResponseFields,
        ciphertext: ByteRegion, payload: ByteRegion
    ) -> NoiseIKpsk2.ResponseOutcome {
        var shared = Secret32()
        let remoteEphemeral = PublicKey(copying: fields.ephemeral)
        // e
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        // ee
        guard ephemeral.sharedSecret(with: remoteEphemeral, into: &shared) else {
            return .lowOrderPublicKey
        }
        state.mixKey(shared)
        // ekem1
        guard state.decryptAndHash(fields.encryptedCiphertext, into: ciphertext),
            decapsulationKey.decapsulate(ciphertext, into: &shared)
        else { return .notAuthentic }
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
