import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// What `mac1` covers: WireGuard's messages whole, those of profile `branchline` by their hash.
struct MessageMACTests {
    /// `mac1` of what precedes it or of the hash of that, from the functions alone.
    private static func mac1(
        _ message: [UInt8], _ receiver: PrivateKey, isOverHash: Bool
    ) -> [UInt8] {
        let label = Array("mac1----".utf8)
        let key = BLAKE2s.hash(label + receiver.publicKey.bytes)
        let covered = Array(message.dropLast(32))
        let input = isOverHash ? BLAKE2s.hash(covered).bytes : covered
        return key.withBytes { key in
            ByteArena.withCopy(of: input) { BLAKE2s.mac(key: key, $0).bytes }
        }
    }

    private static func field(_ message: [UInt8]) -> [UInt8] {
        Array(message.dropLast(16).suffix(16))
    }

    /// The message with the `mac1` that the other profile would give it.
    static func sealedAsOther(_ message: [UInt8], _ receiver: PrivateKey) -> [UInt8] {
        let isHybrid = message[1] == 1
        return message.dropLast(32) + mac1(message, receiver, isOverHash: !isHybrid)
            + message.suffix(16)
    }

    private func handshake(_ pair: Pair) throws -> (initiation: [UInt8], response: [UInt8]) {
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        return (initiation, try pair.right.actions.drain().handshake(.response).orThrow())
    }

    @Test(arguments: TunnelProfile.allCases)
    func mac1CoversTheMessageOrItsHash(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let messages = try handshake(pair)
        let isHybrid = profile.family == .branchline
        for (message, receiver) in [
            (messages.initiation, pair.rightKey), (messages.response, pair.leftKey),
        ] {
            let expected = Self.mac1(message, receiver, isOverHash: isHybrid)
            #expect(Self.field(message) == expected)
            #expect(expected != Self.mac1(message, receiver, isOverHash: !isHybrid))
        }
    }

    /// All keys are tried on these bytes, however long the message is.
    @Test func aLongMessageIsHashedOnceForAllKeys() {
        var random = SeededGenerator(seed: 8)
        for count in [33, 92, 148, 1_196, 1_348] {
            var message = random.bytes(count)
            for family in WireGuardMessage.Family.allCases {
                message[1] = family.rawValue
                let covered = Array(message.dropLast(32))
                let input = ByteArena.withCopy(of: message) {
                    MessageMAC.withMAC1Input($0) { $0.bytes }
                }
                switch family {
                case .wireguard: #expect(input == covered)
                case .branchline: #expect(input == BLAKE2s.hash(covered).bytes)
                }
            }
        }
    }

    @Test(arguments: TunnelProfile.allCases)
    func theOtherProfilesMAC1IsRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(
                Self.sealedAsOther(initiation, pair.rightKey), from: .test(9), now: second)
                == .dropped(.invalidMAC1))
        #expect(pair.right.actions.isEmpty)
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(
                Self.sealedAsOther(response, pair.leftKey), from: pair.rightEndpoint, now: second)
                == .dropped(.invalidMAC1))
        #expect(pair.left.actions.isEmpty)
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
    }
}
