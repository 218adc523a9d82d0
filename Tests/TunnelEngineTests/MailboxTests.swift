import LinuxNetworking
import Synchronization
import Testing
import WireGuardProtocol

@testable import TunnelEngine

@Suite struct WorkerLinkTests {
    /// What `.setDatagramsPerSend` commands carry: here, serial numbers.
    private func serials(_ commands: [WorkerCommand]) -> [Int] {
        commands.compactMap { if case .setDatagramsPerSend(let serial) = $0 { serial } else { nil } }
    }

    @Test func commandsComeInTheOrderOfTheirBatches() throws {
        let link = WorkerLink(bell: try EventDescriptor())
        link.post([.setDatagramsPerSend(1), .setDatagramsPerSend(2)])
        link.post([.setDatagramsPerSend(3)])
        #expect(link.postedCount == 2)
        #expect(serials(link.takeCommands()) == [1, 2, 3])
        #expect(link.takeCommands().isEmpty)
        link.post([.setDatagramsPerSend(4)])
        #expect(link.postedCount == 3)
        #expect(serials(link.takeCommands()) == [4])
    }

    @Test func bellRingsForCommandsOnly() throws {
        let link = WorkerLink(bell: try EventDescriptor())
        link.post([])
        #expect(link.postedCount == 0)
        #expect(link.bell.drain() == 0)
        link.post([.stop])
        #expect(link.bell.drain() == 1)
    }

    @Test func nothingIsLostOrReorderedBetweenThreads() throws {
        let link = WorkerLink(bell: try EventDescriptor())
        let posterCount = 3, batchCount = 400
        let finished = Atomic<Int>(0)
        let posters = try (0..<posterCount).map { poster in
            try WorkerThread.start(name: "poster") { _ in
                for batch in 0..<batchCount {
                    let first = poster * 1_000_000 + batch * 2
                    link.post([.setDatagramsPerSend(first), .setDatagramsPerSend(first + 1)])
                }
                finished.add(1, ordering: .releasing)
            }
        }
        var taken: [Int] = []
        while true {
            let isLast = finished.load(ordering: .acquiring) == posterCount
            taken += serials(link.takeCommands())
            if isLast { break }
        }
        for poster in posters { poster.join() }
        #expect(link.postedCount == UInt64(posterCount * batchCount))
        for poster in 0..<posterCount {
            let own = taken.filter { $0 / 1_000_000 == poster }.map { $0 % 1_000_000 }
            #expect(own == Array(0..<batchCount * 2))
        }
    }
}

@Suite struct ControlInboxTests {
    private func peers(_ events: [WorkerEvent]) -> [PeerID] {
        events.compactMap { if case .attention(_, let peer) = $0 { peer } else { nil } }
    }

    @Test func eventsComeInOrder() throws {
        let inbox = ControlInbox(bell: try EventDescriptor())
        for peer: PeerID in 0..<5 { #expect(inbox.post(.attention(0, peer))) }
        #expect(inbox.bell.drain() == 5)
        #expect(peers(inbox.take()) == [0, 1, 2, 3, 4])
        #expect(inbox.take().isEmpty)
    }

    @Test func strangersCannotPushOutChangesOfState() throws {
        let inbox = ControlInbox(bell: try EventDescriptor())
        var kept = 0
        while kept < 10_000, inbox.post(.sourceRefused) { kept += 1 }
        #expect(kept == 512)
        for peer: PeerID in 0..<20_000 {
            guard inbox.post(.attention(0, peer)) else {
                Issue.record("attention \(peer) was refused")
                return
            }
        }
        let events = inbox.take()
        #expect(events.count == kept + 20_000)
        #expect(peers(events) == Array(0..<20_000))
        #expect(inbox.post(.sourceRefused), "an emptied inbox takes everything again")
    }
}
