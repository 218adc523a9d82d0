import Cryptography
import Foundation
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// A handshake computed independently, byte for byte, through two whole devices.
struct WireGuardVectorTests {
    struct Vector: Decodable {
        var initiator_static: String
        var responder_static: String
        var preshared_key: String
        var initiation: String
        var response: String
        var packet: String
        var data_from_initiator: String
        var keepalive_from_responder: String
    }

    private func load() throws -> Vector {
        let url = try Bundle.module.url(
            forResource: "wireguard_handshake", withExtension: "json", subdirectory: "Vectors"
        ).orThrow()
        return try JSONDecoder().decode(Vector.self, from: Data(contentsOf: url))
    }

    /// A device whose randomness is one byte, over and over.
    private func device(_ key: PrivateKey, randomByte: UInt8) -> WireGuardDevice {
        let device = WireGuardDevice(
            workerCount: 1, random: RandomSource { $0.fill(with: randomByte) })
        device.setPrivateKey(key, now: 0)
        return device
    }

    @Test func handshakeAndFirstPacketsMatchTheVector() throws {
        let vector = try load()
        let leftKey = try PrivateKey(hex: vector.initiator_static.utf8).orThrow()
        let rightKey = try PrivateKey(hex: vector.responder_static.utf8).orThrow()
        let presharedKey = try PresharedKey(hex: vector.preshared_key.utf8).orThrow()
        let left = device(leftKey, randomByte: 0x33)
        let right = device(rightKey, randomByte: 0x44)
        let rightID = try left.addPeer(rightKey.publicKey, now: 0).orThrow()
        let leftID = try right.addPeer(leftKey.publicKey, now: 0).orThrow()
        left.setPresharedKey(rightID, presharedKey)
        right.setPresharedKey(leftID, presharedKey)
        left.setEndpoint(rightID, .test(2), now: 0)
        _ = left.actions.drain()

        #expect(left.activity(rightID)?.requestHandshake() == true)
        left.noteActivity(rightID, now: 1)
        left.advance(now: 1, wallClock: WallClock(seconds: 1_750_000_000, nanoseconds: 123_456_789))
        let initiation = try left.actions.drain().handshake(.initiation).orThrow()
        #expect(initiation == bytes(hex: vector.initiation))

        #expect(right.receive(initiation, from: .test(1), now: 1) == .accepted(leftID))
        let answers = right.actions.drain()
        let response = try answers.handshake(.response).orThrow()
        #expect(response == bytes(hex: vector.response))
        let rightSession = try answers.installed.orThrow()

        #expect(left.receive(response, from: .test(2), now: 1) == .accepted(rightID))
        let leftSession = try left.actions.drain().installed.orThrow()
        #expect(
            sealed(leftSession, bytes(hex: vector.packet))
                == bytes(hex: vector.data_from_initiator))
        #expect(sealed(rightSession, []) == bytes(hex: vector.keepalive_from_responder))
    }

    private func sealed(_ session: Session, _ packet: [UInt8]) -> [UInt8] {
        let output = ByteArena(count: 128)
        let size = ByteArena.withCopy(of: packet) {
            session.seal(counter: 0, packet: $0, into: output.whole, with: PacketCipher())
        }
        return output.whole.prefix(size).bytes
    }
}
