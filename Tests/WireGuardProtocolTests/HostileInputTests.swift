import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Bytes that no honest peer sends: each is dropped for a reason, and nothing else happens.
struct HostileInputTests {
    @Test(arguments: Seeds.count(4))
    func randomBytesChangeNothing(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        let cipher = PacketCipher()
        for round in 0..<4_000 as Range<UInt64> {
            let sizes = [0, 1, 3, 4, 31, 32, 63, 64, 91, 92, 147, 148, 149, 1_500]
            let size = sizes.randomElement(using: &generator) ?? 0
            var bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let type = UInt8.random(in: 0...5, using: &generator)
            for (offset, byte) in [type, 0, 0, 0].enumerated() where offset < size {
                bytes[offset] = byte
            }
            let outcome = pair.right.receive(
                bytes, from: .test(9), now: second + round, isUnderLoad: round % 2 == 0)
            guard case .dropped = outcome else { throw Accepted() }
            let opened = ByteArena.withCopy(of: bytes) { session.open(datagram: $0, with: cipher) }
            #expect(opened == nil)
        }
        #expect(pair.right.actions.isEmpty)
        #expect(pair.right.endpoint(pair.leftID) == pair.leftEndpoint)
    }

    @Test(arguments: Seeds.count(3))
    func alteredAndTruncatedMessagesChangeNothing(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for _ in 0..<500 {
            var bytes = initiation
            if generator.chance(percent: 30) {
                bytes.removeLast(Int.random(in: 1...bytes.count, using: &generator))
            }
            if !bytes.isEmpty {
                // The last 16 bytes matter only under load.
                let offset = Int.random(in: 0..<min(bytes.count, 132), using: &generator)
                bytes[offset] ^= UInt8.random(in: 1...255, using: &generator)
            }
            guard case .dropped = pair.right.receive(bytes, from: .test(9), now: second) else {
                throw Accepted()
            }
        }
        #expect(pair.right.actions.isEmpty)
        #expect(
            pair.right.receive(initiation, from: .test(9), now: second) == .accepted(pair.leftID))
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        for _ in 0..<500 {
            var bytes = response
            let offset = Int.random(in: 0..<76, using: &generator)
            bytes[offset] ^= UInt8.random(in: 1...255, using: &generator)
            guard case .dropped = pair.left.receive(bytes, from: .test(9), now: second) else {
                throw Accepted()
            }
        }
        #expect(pair.left.actions.isEmpty)
        #expect(
            pair.left.receive(response, from: .test(2), now: second) == .accepted(pair.rightID))
    }

    @Test func alteredTransportMessagesAreNotAuthentic() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: second)
        let cipher = PacketCipher()
        let datagram = ByteArena(count: 96)
        let size = ByteArena.withCopy(of: [UInt8](repeating: 1, count: 64)) {
            left.seal(counter: 5, packet: $0, into: datagram.whole, with: cipher)
        }
        let original = datagram.whole.prefix(size).bytes
        for offset in 8..<size {
            var altered = original
            altered[offset] ^= 4
            let opened = ByteArena.withCopy(of: altered) { right.open(datagram: $0, with: cipher) }
            #expect(opened == nil, "offset \(offset)")
        }
        for count in 0..<size {
            let opened = ByteArena.withCopy(of: Array(original.prefix(count))) {
                right.open(datagram: $0, with: cipher)
            }
            #expect(opened == nil, "count \(count)")
        }
    }

    @Test func countersNoSenderMayUseAreRefused() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: second)
        let cipher = PacketCipher()
        let limit = ProtocolConstants.rejectAfterMessages
        for (counter, isOpened) in [(limit - 1, true), (limit, false), (UInt64.max, false)] {
            let datagram = ByteArena(count: 64)
            let size = ByteArena.withCopy(of: []) {
                left.seal(counter: counter, packet: $0, into: datagram.whole, with: cipher)
            }
            let inner = right.open(datagram: datagram.whole.prefix(size), with: cipher)
            #expect((inner != nil) == isOpened)
            #expect(right.acceptCounter(counter) == isOpened)
        }
    }

    private struct Accepted: Error {}
}
