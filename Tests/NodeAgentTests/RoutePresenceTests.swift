import Cryptography
import PacketFormats
import Testing

@testable import NodeAgent

@Suite struct RoutePresenceTests {
    private let key = Network.publicKey(1), other = Network.publicKey(2)
    private let prefix = IPPrefix("10.64.0.3/32")!, network = IPPrefix("10.100.0.0/24")!

    private func up(_ prefixes: IPPrefix...) -> [RoutePresence.Change] {
        prefixes.map { .init(isUp: true, prefix: $0) }
    }

    private func down(_ prefixes: IPPrefix...) -> [RoutePresence.Change] {
        prefixes.map { .init(isUp: false, prefix: $0) }
    }

    @Test func whoHasSentNothingIsNotThere() {
        var presence = RoutePresence()
        let first = presence.update([(key, 0, [prefix])], at: 100)
        #expect(first.isEmpty)
        let second = presence.update([(key, 32, [prefix, network])], at: 101)
        #expect(second == up(prefix, network))
        let third = presence.update([(key, 32, [prefix, network])], at: 102)
        #expect(third.isEmpty)
    }

    @Test func keepalivesHoldAPeerAndSilenceEndsIt() {
        var presence = RoutePresence()
        _ = presence.update([(key, 1, [prefix])], at: 0)
        var bytes: UInt64 = 1
        for second in 1...300 as ClosedRange<Int64> {
            if second % 25 == 0 { bytes += 32 }
            let changes = presence.update([(key, bytes, [prefix])], at: second)
            #expect(changes.isEmpty, "\(second)")
        }
        for second in 301...379 as ClosedRange<Int64> {
            let changes = presence.update([(key, bytes, [prefix])], at: second)
            #expect(changes.isEmpty, "\(second)")
        }
        let gone = presence.update([(key, bytes, [prefix])], at: 380)
        #expect(gone == down(prefix))
        let back = presence.update([(key, bytes + 32, [prefix])], at: 400)
        #expect(back == up(prefix))
    }

    @Test func whoSendsAllTheTimeIsMissedSoon() {
        var presence = RoutePresence()
        for second in 0..<20 as Range<Int64> {
            _ = presence.update([(key, UInt64(second) + 1, [prefix])], at: second)
        }
        for second in 20..<22 as Range<Int64> {
            let changes = presence.update([(key, 20, [prefix])], at: second)
            #expect(changes.isEmpty, "\(second)")
        }
        let gone = presence.update([(key, 20, [prefix])], at: 22)
        #expect(gone == down(prefix))
        let back = presence.update([(key, 21, [prefix])], at: 23)
        #expect(back == up(prefix))
    }

    @Test func aPeerThatIsRemovedIsGoneAtOnceAndItsNetworksMayBeAnothers() {
        var presence = RoutePresence()
        _ = presence.update([(key, 5, [prefix]), (other, 5, [network])], at: 0)
        let moved = presence.update([(other, 6, [prefix, network])], at: 1)
        #expect(moved.isEmpty)
        let end = presence.end()
        #expect(end == down(prefix, network))
    }

    @Test func aTunnelMadeAnewBeginsWithoutPeers() {
        var presence = RoutePresence()
        _ = presence.update([(key, 500, [prefix])], at: 0)
        let anew = presence.update([(key, 0, [prefix])], at: 1)
        #expect(anew == down(prefix))
        let heard = presence.update([(key, 148, [prefix])], at: 2)
        #expect(heard == up(prefix))
    }
}
