import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// Answers to `qos=1`.
@Suite struct QoSStatusTextTests {
    @Test func statusSurvivesTheRoundTrip() throws {
        let status = try Self.everything()
        let text = UAPI.serialize(status)
        #expect(string(text).hasSuffix("\nerrno=0\n\n"))
        #expect(try QoSStatus(answer: text) == status)
    }

    @Test func anEmptyStatusSurvivesTheRoundTrip() throws {
        var status = QoSStatus()
        status.isClassifying = false
        status.classes = TrafficClass.allCases.map { .init(trafficClass: $0) }
        #expect(try QoSStatus(answer: UAPI.serialize(status)) == status)
    }

    @Test(arguments: [
        "link=5 6 1\nerrno=0\n\n", "link=5 6\nlink_minimum=x\nerrno=0\n\n",
        "link=5 6\nlink_now=-1\nerrno=0\n\n",
        "", "errno=-71\n\n", "classify=1\nerrno=0\n\n", "link=5\nerrno=0\n\n",
        "link=5 -1\nerrno=0\n\n", "flows=x\nerrno=0\n\n", "class=best\nerrno=0\n\n",
        "class=token\npackets=-1\nerrno=0\n\n", "class=token\nsojourn=1,,2\nerrno=0\n\n",
        "class=token\nsojourn=\nerrno=0\n\n", "path=x 1 1\nerrno=0\n\n",
        "path=\(Samples.peerHex[0]) 1\nerrno=0\n\n", "measure=chat\nerrno=0\n\n",
        "measure=token\npublic_key=x\nerrno=0\n\n",
        "measure=token\nfirst_chunk_sum_sec=nan\nerrno=0\n\n",
        "measure=token\nfirst_chunk_sum_sec=inf\nerrno=0\n\n",
        "measure=token\ninter_chunk_sum_sec=-1\nerrno=0\n\n",
        "class=token\nsojourn=\(String(repeating: "0,", count: 64))0\nerrno=0\n\n",
        "class=token\npackets=18446744073709551616\nerrno=0\n\n", "class=token\n",
    ])
    func brokenAnswersAreRefused(_ answer: String) {
        #expect(throws: UAPIError.self) { try QoSStatus(answer: Array(answer.utf8)) }
    }

    @Test func keysOfLaterVersionsArePassedOver() throws {
        let text = """
            novelty=x
            link=5 6
            link_now=4
            link_change=novelty
            class=bulk
            novelty=x
            bytes=7
            path=\(Samples.peerHex[0]) 5 6
            novelty=x
            measure=token
            novelty=x
            errno=0


            """
        let status = try QoSStatus(answer: Array(text.utf8))
        #expect(status.following == .init(bitsPerSecond: 4))
        #expect(status.classes.first?.bytes == 7)
        #expect(status.paths.first?.link == .init(bitsPerSecond: 5, overheadBytes: 6))
        #expect(status.measures.count == 1)
    }

    @Test func lineBreaksCannotForgeLines() throws {
        var status = QoSStatus()
        var measure = QoSStatus.Measure(trafficClass: .token)
        measure.service = "chat\nclass=bulk\r\nrequests=9"
        status.measures = [measure]
        let read = try QoSStatus(answer: UAPI.serialize(status))
        #expect(read.classes.isEmpty && read.measures.count == 1)
        #expect(read.measures[0].requests == 0)
        #expect(read.measures[0].service == "chat class=bulk requests=9")
    }

    static func everything() throws -> QoSStatus {
        let key = try #require(PublicKey(hex: Samples.peerHex[1]))
        var status = QoSStatus()
        status.link = .init(bitsPerSecond: 200_000_000, overheadBytes: 22)
        status.link?.minimumBitsPerSecond = 5_000_000
        var following = QoSStatus.Following(bitsPerSecond: 7_000_000)
        (following.cause, following.delayNanoseconds) = (.late, 23_000_000)
        following.ageNanoseconds = 9
        status.following = following
        status.isLinkShared = true
        status.linkWireBytes = .max
        status.flowCount = 3
        status.flowCapacity = 100_000
        status.evictedFlows = 4
        status.overBudgetPackets = 5
        status.isOverBudget = true
        for trafficClass in TrafficClass.allCases {
            var one = QoSStatus.ClassStatus(trafficClass: trafficClass)
            (one.packets, one.bytes, one.queuedPackets, one.queuedBytes) = (1, 2, 3, 4)
            one.sojournCounts = QoSStatus.sojournBoundsMicroseconds.map(UInt64.init) + [.max]
            (one.sojournMaxNanoseconds, one.marks, one.earlyDrops) = (5, 6, 7)
            (one.overflowDrops, one.outerMarked, one.innerMarked) = (8, 9, 10)
            status.classes.append(one)
        }
        var path = QoSStatus.PathStatus(peer: key, link: .init(bitsPerSecond: 1, overheadBytes: 2))
        (path.queuedPackets, path.queuedBytes, path.wireBytes) = (3, 4, 5)
        status.paths = [path, .init(peer: key, link: .init(bitsPerSecond: 6))]
        var measure = QoSStatus.Measure(trafficClass: .activation)
        measure.service = "split  = inference"
        measure.peer = key
        (measure.requests, measure.streams, measure.chunks, measure.streamBytes) = (1, 2, 3, 4)
        (measure.stalls, measure.retransmissions, measure.tokens) = (5, 6, 7)
        measure.firstChunkCounts = [0, 0, 8]
        measure.firstChunkSumSeconds = 0.1 + 0.2
        measure.interChunkCounts = [9]
        measure.interChunkSumSeconds = 1e-9
        status.measures = [measure, .init(trafficClass: .background)]
        return status
    }
}
