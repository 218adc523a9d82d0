import TestSupport
import Testing

@testable import TunnelEngine
@testable import WireGuardProtocol

@Suite struct SessionTableTests {
    /// An index that the table's multiplier sends to `home`, whatever the table's size. The
    /// 256 variants of one home differ only in bits that the table does not look at.
    private func index(home: UInt32, variant: UInt32) -> UInt32 {
        let multiplier: UInt32 = 0x9E37_79B1
        // Newton's iteration doubles the right low bits of the inverse, from three on.
        var inverse = multiplier
        for _ in 0..<4 { inverse = inverse &* (2 &- multiplier &* inverse) }
        return (home << 8 | variant) &* inverse
    }

    /// The numbers of a datagram are anybody's.
    @Test(arguments: [0, 63, 8_191, 8_192, UInt64.max])
    func fetchingTakesAnyNumberAndChangesNothing(counter: UInt64) {
        var table = SessionTable()
        let session = makeSession(index(home: 3, variant: 1))
        table.insert(session)
        for index in [session.localIndex, session.localIndex ^ 1, 0, .max] {
            _ = table.fetch(index)
        }
        _ = session.fetch(counter: counter)
        #expect(table[session.localIndex] === session)
        #expect(session.acceptCounter(7))
        _ = session.fetch(counter: counter)
        #expect(!session.acceptCounter(7))
    }

    @Test(arguments: 0..<12 as Range<UInt64>)
    func everyLookupEqualsTheModels(seed: UInt64) {
        print("session table seed \(seed)")
        var random = SeededGenerator(seed: seed)
        // Homes at both ends of the smallest table and of those it grows to, so that runs of
        // colliding entries wrap around.
        let homes: [UInt32] = [0, 1, 14, 15, 31, 63]
        let indices = (0..<60).map { _ in
            index(
                home: homes.randomElement(using: &random)!,
                variant: UInt32.random(in: 0..<256, using: &random))
        }
        var model: [UInt32: Session] = [:]
        var table = SessionTable()
        for step in 0..<2_000 {
            let index = indices.randomElement(using: &random)!
            if random.chance(percent: step % 400 < 200 ? 70 : 30) {
                let session = makeSession(index)
                table.insert(session)
                if model[index] == nil { model[index] = session }
            } else {
                table.remove(index)
                model[index] = nil
            }
            guard step % 8 == 0 else { continue }
            let wrong = indices.filter { table[$0] !== model[$0] }
            #expect(wrong.isEmpty, "seed \(seed), step \(step)")
        }
    }

    @Test func tableGrowsAndForgetsNothing() {
        var random = SeededGenerator(seed: 1)
        var table = SessionTable()
        let sessions = (0..<3_000).map { _ in
            makeSession(UInt32(truncatingIfNeeded: random.next()) & ~0xff)
        }
        for session in sessions { table.insert(session) }
        let missing = sessions.filter { table[$0.localIndex]?.localIndex != $0.localIndex }
        #expect(missing.isEmpty)
        for session in sessions { table.remove(session.localIndex) }
        let left = sessions.filter { table[$0.localIndex] != nil }
        #expect(left.isEmpty)
    }

    @Test func firstSessionOfAnIndexStays() {
        var table = SessionTable()
        let first = makeSession(7), second = makeSession(7)
        table.insert(first)
        table.insert(second)
        let found = table[7]
        #expect(found === first)
        table.remove(7)
        let after = table[7]
        #expect(after == nil)
    }

    @Test func removingWhatIsNotThereChangesNothing() {
        var table = SessionTable()
        table.remove(7)
        let session = makeSession(index(home: 3, variant: 0))
        table.insert(session)
        table.remove(index(home: 3, variant: 1))
        let found = table[session.localIndex]
        #expect(found === session)
    }
}

@Suite struct PeerTableTests {
    @Test func peerIsKnownOnceItHasActivity() {
        var table = PeerTable()
        let before = [-1, 0].filter { table.contains($0) }
        #expect(before.isEmpty)
        table.reserve(3)
        table[3].activity = PeerActivity()
        let known = (-1...5).filter { table.contains($0) }
        #expect(known == [3])
        table[3] = WorkerPeer()
        let after = (-1...5).filter { table.contains($0) }
        #expect(after.isEmpty)
    }

    @Test func reservingAgainKeepsWhatIsThere() {
        var table = PeerTable()
        table.reserve(2)
        table[1].staged = [5]
        table.reserve(1)
        table.reserve(100)
        let staged = table[1].staged
        #expect(staged == [5])
    }
}
