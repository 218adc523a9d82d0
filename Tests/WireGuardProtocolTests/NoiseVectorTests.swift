import Cryptography
import Foundation
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Published IKpsk2 vectors, through the code that real handshakes use.
struct NoiseVectorTests {
    private struct File: Decodable { var vectors: [Vector] }

    struct Vector: Decodable, Sendable {
        struct Message: Decodable, Sendable {
            var payload: String
            var ciphertext: String
        }
        var protocol_name: String
        var init_prologue: String
        var init_psks: [String]
        var init_static: String
        var init_ephemeral: String
        var init_remote_static: String
        var resp_static: String
        var resp_ephemeral: String
        var handshake_hash: String
        var messages: [Message]

        var cipher: HandshakeCipher {
            protocol_name.contains("AESGCM") ? .aesGCM : .chaChaPoly
        }
    }

    static let vectors: [Vector] = {
        guard let url = Bundle.module.url(
            forResource: "noise_ikpsk2_25519_blake2s", withExtension: "json",
            subdirectory: "Vectors"),
            let data = try? Data(contentsOf: url),
            let file = try? JSONDecoder().decode(File.self, from: data)
        else { return [] }
        return file.vectors
    }()

    @Test func vectorsAreThere() {
        for cipher in HandshakeCipher.allCases {
            #expect(Self.vectors.contains { $0.cipher == cipher })
        }
    }

    @Test(arguments: vectors.indices)
    func bothEndsReproduceTheVector(_ index: Int) throws {
        let vector = Self.vectors[index]
        let initiator = try PrivateKey(hex: vector.init_static.utf8).orThrow()
        let initiatorEphemeral = try PrivateKey(hex: vector.init_ephemeral.utf8).orThrow()
        let responder = try PrivateKey(hex: vector.resp_static.utf8).orThrow()
        let responderEphemeral = try PrivateKey(hex: vector.resp_ephemeral.utf8).orThrow()
        let presharedKey = try PresharedKey(hex: vector.init_psks[0].utf8).orThrow()
        #expect(try PublicKey(hex: vector.init_remote_static).orThrow() == responder.publicKey)
        let start = NoiseStart(
            name: vector.protocol_name, prologue: bytes(hex: vector.init_prologue),
            cipher: vector.cipher)
        var staticStatic = Secret32()
        let isCompatible = initiator.sharedSecret(
            with: responder.publicKey, into: &staticStatic)
        #expect(isCompatible)

        // First message.
        let payloads = vector.messages.map { bytes(hex: $0.payload) }
        let memory = ByteArena(count: 1024)
        let first = memory.whole.prefix(96 + payloads[0].count)
        let initiation = NoiseIKpsk2.InitiationFields(
            ephemeral: first.prefix(32), encryptedStatic: first.region(at: 32, count: 48),
            encryptedPayload: first.region(from: 80))
        var left = SymmetricState(start)
        let isFirstWritten = ByteArena.withCopy(of: payloads[0]) {
            NoiseIKpsk2.writeInitiation(
                &left, ephemeral: initiatorEphemeral, ownStatic: initiator.publicKey,
                remoteStatic: responder.publicKey, staticStatic: staticStatic, payload: $0,
                fields: initiation)
        }
        #expect(isFirstWritten)
        #expect(first.bytes == bytes(hex: vector.messages[0].ciphertext))

        var right = SymmetricState(start)
        let scratch = memory.whole.region(at: 512, count: 64)
        guard case .initiator(let found) = NoiseIKpsk2.readInitiationStatic(
            &right, privateKey: responder, fields: initiation, scratch: scratch.prefix(32))
        else { throw Failure() }
        #expect(found == initiator.publicKey)
        let firstPayload = scratch.prefix(payloads[0].count)
        let isFirstRead = NoiseIKpsk2.readInitiationPayload(
            &right, staticStatic: staticStatic, encryptedPayload: initiation.encryptedPayload,
            payload: firstPayload)
        #expect(isFirstRead)
        #expect(firstPayload.bytes == payloads[0])

        // Second message.
        let second = memory.whole.region(at: 256, count: 48 + payloads[1].count)
        let response = NoiseIKpsk2.ResponseFields(
            ephemeral: second.prefix(32), encryptedPayload: second.region(from: 32))
        let isSecondWritten = ByteArena.withCopy(of: payloads[1]) {
            NoiseIKpsk2.writeResponse(
                &right, ephemeral: responderEphemeral,
                remoteEphemeral: initiatorEphemeral.publicKey, remoteStatic: found,
                presharedKey: presharedKey, payload: $0, fields: response)
        }
        #expect(isSecondWritten)
        #expect(second.bytes == bytes(hex: vector.messages[1].ciphertext))
        let secondPayload = scratch.prefix(payloads[1].count)
        let outcome = NoiseIKpsk2.readResponse(
            &left, ephemeral: initiatorEphemeral, privateKey: initiator,
            presharedKey: presharedKey, fields: response, payload: secondPayload)
        #expect(outcome == .authentic)
        #expect(secondPayload.bytes == payloads[1])
        #expect(left.hash.bytes == bytes(hex: vector.handshake_hash))
        #expect(right.hash.bytes == bytes(hex: vector.handshake_hash))

        try checkTransport(vector, &left, &right, memory.whole.prefix(0))
    }

    /// Later messages alternate in direction, each with the counter of its direction.
    private func checkTransport(
        _ vector: Vector, _ left: inout SymmetricState, _ right: inout SymmetricState,
        _ empty: ByteRegion
    ) throws {
        var fromInitiator = Secret32()
        var fromResponder = Secret32()
        left.split(empty, initiatorKey: &fromInitiator, responderKey: &fromResponder)
        var fromInitiatorAgain = Secret32()
        var fromResponderAgain = Secret32()
        right.split(empty, initiatorKey: &fromInitiatorAgain, responderKey: &fromResponderAgain)
        let areEqual =
            fromInitiator.isEqual(to: fromInitiatorAgain)
            && fromResponder.isEqual(to: fromResponderAgain)
        #expect(areEqual)
        for (index, message) in vector.messages.enumerated().dropFirst(2) {
            let payload = bytes(hex: message.payload)
            let output = ByteArena(count: payload.count + 16)
            let counter = UInt64(index / 2 - 1)
            if index % 2 == 0 {
                try seal(vector.cipher, fromInitiator, counter, payload, output.whole)
            } else {
                try seal(vector.cipher, fromResponder, counter, payload, output.whole)
            }
            #expect(output.whole.bytes == bytes(hex: message.ciphertext))
        }
    }

    private func seal(
        _ cipher: HandshakeCipher, _ key: borrowing Secret32, _ counter: UInt64,
        _ payload: [UInt8], _ output: ByteRegion
    ) throws {
        switch cipher {
        case .chaChaPoly:
            ByteArena.withCopy(of: payload) {
                PacketCipher().sealChaCha20Poly1305(
                    key: key, counter: counter, plaintext: $0, into: output)
            }
        case .aesGCM:
            let expanded = try AES256GCMKey.expand(key).orThrow()
            ByteArena.withCopy(of: payload) {
                PacketCipher().sealAES256GCM(
                    key: expanded, counter: counter, plaintext: $0, into: output)
            }
        }
    }

    private struct Failure: Error {}
}
