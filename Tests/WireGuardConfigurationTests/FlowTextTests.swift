import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// `flows=1` requests and their answers.
@Suite struct FlowTextTests {
    @Test func queriesSurviveTheRoundTrip() throws {
        let queries = [
            FlowQuery(), FlowQuery(address: IPAddress("10.0.0.2"), streamsOnly: true),
            FlowQuery(
                address: IPAddress("fd00::1"), port: 51_000, otherAddress: IPAddress("fd00::2"),
                otherPort: 443),
            FlowQuery(port: 1, otherPort: .max),
        ]
        for query in queries {
            guard case .flows(let read) = try UAPI.parse(request: UAPI.serialize(query)) else {
                throw Samples.Unexpected()
            }
            #expect(read == query)
        }
    }

    @Test(arguments: [
        "address=10.0.0", "address=", "port=65536", "port=-1", "other_port=http",
        "other_address=10.0.0.0/8", "streams_only=1", "limit=5", "x",
    ])
    func damagedQueriesAreRefused(line: String) {
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(request: "flows=1\nport=1\n\(line)\n\n")
        }
        #expect(error?.line == 3)
    }

    @Test func flowsSurviveTheRoundTrip() throws {
        let flows = try [Self.everything(), Self.nothing()]
        let text = UAPI.serialize(flows)
        #expect(try FlowReport.list(answer: text) == flows)
        #expect(try FlowReport.list(answer: UAPI.serialize([FlowReport]())) == [])
    }

    @Test func everyEvidenceAndPhaseSurvives() throws {
        for evidence in FlowReport.Evidence.allCases {
            for phase in FlowReport.Phase.allCases {
                var flow = try Self.nothing()
                flow.evidence = evidence
                flow.phase = phase
                #expect(try FlowReport.list(answer: UAPI.serialize([flow])) == [flow])
            }
        }
    }

    @Test func atMostTheLimitIsWrittenAndRead() throws {
        let flow = try Self.nothing()
        let most = [FlowReport](repeating: flow, count: FlowQuery.flowsMax)
        let text = UAPI.serialize(most + [flow])
        #expect(try FlowReport.list(answer: text).count == FlowQuery.flowsMax)
        let more = Array("flow=6 10.0.0.1 1 10.0.0.2 2\n".utf8) + text
        #expect(throws: UAPIError.self) { try FlowReport.list(answer: more) }
    }

    @Test(arguments: [
        "flow=6 10.0.0.1 1 10.0.0.2", "flow=6 10.0.0.1 1 10.0.0.2 65536", "flow=256 ::1 1 ::2 1",
        "flow=6 host 1 10.0.0.2 2", "flow=6  1 10.0.0.2 2", "flow=",
        "flow=6 ::1 1 ::2 2\nclass=best", "flow=6 ::1 1 ::2 2\nevidence=hunch",
        "flow=6 ::1 1 ::2 2\nphase=done", "flow=6 ::1 1 ::2 2\nconfidence=101",
        "flow=6 ::1 1 ::2 2\ntoken_stream=1", "flow=6 ::1 1 ::2 2\npublic_key=x",
        "flow=6 ::1 1 ::2 2\nage_nsec=-1",
    ])
    func brokenAnswersAreRefused(lines: String) {
        let answer = Array("\(lines)\nerrno=0\n\n".utf8)
        #expect(throws: UAPIError.self) { try FlowReport.list(answer: answer) }
    }

    @Test func refusalsAndBrokenEndsAreTold() {
        let refusal = UAPIError(.unknown, "").answer
        #expect(throws: UAPIError.self) { try FlowReport.list(answer: refusal) }
        #expect(throws: UAPIError.self) { try FlowReport.list(answer: []) }
    }

    @Test func lineBreaksCannotForgeLines() throws {
        var flow = try Self.nothing()
        flow.detail = "GET /\nclass=control\r\nflow=6 ::1 1 ::2 2"
        flow.service = "a\nb"
        flow.limit = "ceiling\nlimit=none"
        let read = try FlowReport.list(answer: UAPI.serialize([flow]))
        #expect(read.count == 1 && read[0].trafficClass == flow.trafficClass)
        #expect(read[0].service == "a b" && read[0].limit == "ceiling limit=none")
    }

    @Test func keysOfLaterVersionsArePassedOver() throws {
        let text = "novelty=1\nflow=17 ::1 1 ::2 2\nnovelty=1\nchunks=3\nerrno=0\n\n"
        let flows = try FlowReport.list(answer: Array(text.utf8))
        #expect(flows.map(\.chunks) == [3])
    }

    static func nothing() throws -> FlowReport {
        FlowReport(
            client: try #require(IPAddress("10.0.0.2")), clientPort: 51_000,
            server: try #require(IPAddress("10.9.0.5")), serverPort: 443, protocolNumber: 6)
    }

    static func everything() throws -> FlowReport {
        var flow = FlowReport(
            client: try #require(IPAddress("fd00::2")), clientPort: .max,
            server: try #require(IPAddress("fd00::1")), serverPort: 1, protocolNumber: 17)
        flow.peer = PublicKey(hex: Samples.peerHex[0])
        flow.trafficClass = .background
        flow.evidence = .http2
        flow.confidence = 100
        flow.service = "chat = 1"
        flow.phase = .streaming
        flow.isTokenStream = true
        flow.limit = "ceiling"
        flow.detail = "POST /v1/chat/completions, text/event-stream"
        (flow.ageNanoseconds, flow.idleNanoseconds) = (.max, 1)
        (flow.bytesOut, flow.bytesIn, flow.requests, flow.chunks) = (2, 3, 4, 5)
        (flow.stalls, flow.retransmissions) = (6, 7)
        flow.firstChunkNanoseconds = 0
        flow.interChunkNanoseconds = 20_000_000
        flow.interChunkMaxNanoseconds = .max
        return flow
    }
}
