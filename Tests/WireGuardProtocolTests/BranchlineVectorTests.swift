import Cryptography
import Foundation
import PacketFormats
import PacketMemory
import Synchronization
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Handshakes of profile `branchline` computed independently, byte for byte, through whole devices.
struct BranchlineVectorTests {
    struct File: Decodable {
        var handshakes: [Vector]
        var control_frames: [ControlVector]
    }

    struct Vector: Decodable {
        var name: String
        var prologue: String
        var cipher: String
        var initiator_static: String
        var responder_static: String
        var preshared_key: String
        var initiator_ephemeral: String
        var decapsulation_seed: String
        var initiator_index: UInt32
        var responder_ephemeral: String
        var responder_index: UInt32
        var initiation: String
        var response: String
        var handshake_hash: String
        var initiator_key: String
        var responder_key: String
        var packet: String
        var data_from_initiator: String
        var last_data_from_initiator: String
        var keepalive_from_responder: String
        var cookie: String
        var cookie_reply: String
        var initiation_with_cookie: String

        var profile: TunnelProfile { cipher == "AESGCM" ? .branchlineAES : .branchlineChaCha }
    }

    struct ControlVector: Decodable {
        struct Frame: Decodable, Equatable {
            var type: UInt8
            var value: String

            init(type: UInt8, value: String) {
                self.type = type
                self.value = value
            }

            init(from decoder: any Decoder) throws {
                var container = try decoder.unkeyedContainer()
                type = try container.decode(UInt8.self)
                value = try container.decode(String.self)
            }
        }
        var plaintext: String
        var frames: [Frame]?
    }

    static let file: File? = {
        guard
            let url = Bundle.module.url(
                forResource: "branchline_handshake", withExtension: "json",
                subdirectory: "Vectors"),
            let data = try? Data(contentsOf: url)
        else { return nil }
        return try? JSONDecoder().decode(File.self, from: data)
    }()

    static let indices = 0..<(file?.handshakes.count ?? 0)

    private func vector(_ index: Int) throws -> Vector {
        try Self.file.orThrow().handshakes[index]
    }

    @Test func vectorsAreThere() throws {
        let vectors = try Self.file.orThrow().handshakes
        #expect(vectors.count == 4)
        for vector in vectors {
            let isAES = vector.profile == .branchlineAES
            #expect(
                vector.name
                    == (isAES
                        ? ProtocolConstants.hybridConstructionAES
                        : ProtocolConstants.hybridConstructionChaCha))
            #expect(
                vector.prologue
                    == (isAES
                        ? ProtocolConstants.hybridIdentifierAES
                        : ProtocolConstants.hybridIdentifierChaCha))
        }
    }

    /// The two ends of a vector, with the secrets that it names.
    private struct Ends {
        let left: WireGuardDevice
        let right: WireGuardDevice
        let rightID: PeerID
        let leftID: PeerID

        init(_ vector: Vector) throws {
            let leftKey = try PrivateKey(hex: vector.initiator_static.utf8).orThrow()
            let rightKey = try PrivateKey(hex: vector.responder_static.utf8).orThrow()
            let presharedKey = try PresharedKey(hex: vector.preshared_key.utf8).orThrow()
            left = WireGuardDevice(
                workerCount: 1,
                random: .scripted([
                    bytes(hex: vector.initiator_ephemeral), bytes(hex: vector.decapsulation_seed),
                    Self.word(vector.initiator_index),
                ]))
            right = WireGuardDevice(
                workerCount: 1,
                random: .scripted([
                    bytes(hex: vector.responder_ephemeral), Self.word(vector.responder_index),
                ]))
            left.setPrivateKey(leftKey, now: 0)
            right.setPrivateKey(rightKey, now: 0)
            rightID = try left.addPeer(rightKey.publicKey, now: 0).orThrow()
            leftID = try right.addPeer(leftKey.publicKey, now: 0).orThrow()
            left.setProfile(rightID, vector.profile, now: 0)
            right.setProfile(leftID, vector.profile, now: 0)
            if !presharedKey.isZero {
                left.setPresharedKey(rightID, presharedKey)
                right.setPresharedKey(leftID, presharedKey)
            }
            left.setEndpoint(rightID, .test(2), now: 0)
            _ = left.actions.drain()
            _ = right.actions.drain()
        }

        private static func word(_ index: UInt32) -> [UInt8] {
            (0..<8).map { UInt8(truncatingIfNeeded: UInt64(index) >> ($0 * 8)) }
        }

        /// The left device's initiation, as of the vector's time.
        func initiate() throws -> [UInt8] {
            #expect(left.activity(rightID)?.requestHandshake() == true)
            left.noteActivity(rightID, now: 1)
            left.advance(
                now: 1, wallClock: WallClock(seconds: 1_750_000_000, nanoseconds: 123_456_789))
            return try left.actions.drain().handshake(.initiation).orThrow()
        }
    }

    @Test(arguments: indices) func initiatorMatchesTheVector(_ index: Int) throws {
        let vector = try vector(index)
        let ends = try Ends(vector)
        let initiation = try ends.initiate()
        #expect(initiation == bytes(hex: vector.initiation))
        #expect(
            ends.left.receive(bytes(hex: vector.response), from: .test(2), now: 1)
                == .accepted(ends.rightID))
        let session = try ends.left.actions.drain().installed.orThrow()
        let keys = [
            session.sendKey.withBytes { $0.bytes }, session.receiveKey.withBytes { $0.bytes },
        ]
        #expect(keys == [bytes(hex: vector.initiator_key), bytes(hex: vector.responder_key)])
        let packet = bytes(hex: vector.packet)
        #expect(session.sealed(packet, counter: 0) == bytes(hex: vector.data_from_initiator))
        #expect(
            session.sealed(packet, counter: vector.profile.rejectAfterMessages - 1)
                == bytes(hex: vector.last_data_from_initiator))
        #expect(session.opened(bytes(hex: vector.keepalive_from_responder)) == [])
    }

    /// What the responder answers differs each time, so that the initiator judges it.
    @Test(arguments: indices) func responderUnderstandsTheVector(_ index: Int) throws {
        let vector = try vector(index)
        let ends = try Ends(vector)
        let initiation = bytes(hex: vector.initiation)
        #expect(ends.right.receive(initiation, from: .test(1), now: 1) == .accepted(ends.leftID))
        let actions = ends.right.actions.drain()
        let response = try actions.handshake(.response).orThrow()
        let right = try actions.installed.orThrow()
        #expect(response.count == 1_196)
        // Type, indices and ephemeral key are the vector's.
        #expect(response.prefix(44) == bytes(hex: vector.response).prefix(44))
        #expect(response != bytes(hex: vector.response))
        _ = try ends.initiate()
        #expect(ends.left.receive(response, from: .test(2), now: 1) == .accepted(ends.rightID))
        let left = try ends.left.actions.drain().installed.orThrow()
        let packet = bytes(hex: vector.packet)
        #expect(right.opened(left.sealed(packet, counter: 0)) == packet)
        try record(vector, response, right, packet)
    }

    @Test(arguments: indices) func cookieReplyOfTheVectorIsAccepted(_ index: Int) throws {
        let vector = try vector(index)
        let ends = try Ends(vector)
        _ = try ends.initiate()
        let reply = bytes(hex: vector.cookie_reply)
        var stock = reply
        stock[1] = 0
        #expect(
            ends.left.receive(stock, from: .test(2), now: 1)
                == .dropped(.cookieReplyWithoutRequest))
        #expect(ends.left.receive(reply, from: .test(2), now: 1) == .accepted(ends.rightID))
    }

    @Test(arguments: indices) func mac2OfTheVectorCoversTheWholeMessage(_ index: Int) throws {
        let vector = try vector(index)
        let message = ByteArena(bytes(hex: vector.initiation_with_cookie))
        #expect(message.whole.bytes.dropLast(16) == bytes(hex: vector.initiation).dropLast(16))
        let mac2 = ByteArena.withCopy(of: bytes(hex: vector.cookie)) {
            BLAKE2s.mac(key: $0, MessageMAC.mac2Input(message.whole))
        }
        #expect(mac2 == MAC16(copying: MessageMAC.mac2Field(message.whole)))
    }

    @Test func controlFramesMatchTheVectors() throws {
        let vectors = try Self.file.orThrow().control_frames
        #expect(vectors.count >= 18)
        for vector in vectors {
            let found: [ControlVector.Frame]? = ByteArena.withCopy(
                of: bytes(hex: vector.plaintext)
            ) { region in
                guard var frames = ControlFrames(region) else { return nil }
                var found: [ControlVector.Frame] = []
                while let frame = frames.next() {
                    let value = frame.value.bytes
                    let text = value.map { byte in
                        String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
                    }
                    found.append(.init(type: frame.type, value: text.joined()))
                }
                return found
            }
            #expect(found == vector.frames, "\(vector.plaintext)")
        }
    }

    /// Writes what the responder answered, for the other implementation to read.
    private func record(
        _ vector: Vector, _ response: [UInt8], _ session: Session, _ packet: [UInt8]
    ) throws {
        guard let folder = ProcessInfo.processInfo.environment["BRANCHLINE_RECORD_VECTORS"] else {
            return
        }
        let text = """
              {
               "name": "\(vector.name)",
               "initiation": "\(vector.initiation)",
               "response": "\(hex(response))",
               "keepalive": "\(hex(session.sealed([], counter: 0)))",
               "data": "\(hex(session.sealed(packet, counter: 1)))"
              }
            """
        let name = "\(vector.initiation.suffix(96).prefix(16)).json"
        try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}

extension RandomSource {
    /// Hands out these bytes one after the other, then zeros.
    static func scripted(_ parts: [[UInt8]]) -> RandomSource {
        let script = Script(parts.flatMap { $0 })
        return RandomSource { region in
            script.rest.withLock { rest in
                for offset in 0..<region.count { region[offset] = rest.popFirst() ?? 0 }
            }
        }
    }
}

private final class Script: Sendable {
    let rest: Mutex<ArraySlice<UInt8>>

    init(_ bytes: [UInt8]) { rest = Mutex(bytes[...]) }
}
