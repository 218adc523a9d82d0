import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// What reading heads may cost.
@Suite struct HeadBudgetTests {
    private static let request =
        "GET / HTTP/1.1\r\nX: \(String(repeating: "y", count: 980))\r\n\r\n"
    private static let answer = "HTTP/1.1 204 No Content\r\n\r\n"

    /// A thousand bytes of heads in so many milliseconds.
    @Test(arguments: [(10, true), (14, true), (17, false), (100, false)])
    func headsOfAConnectionAreReadAtARate(milliseconds: UInt64, isTooMuch: Bool) {
        var line = ScannedConnection()
        for _ in 0..<2_500 {
            line.now += milliseconds * 1_000_000
            line.client(Self.request)
            line.server(Self.answer)
        }
        #expect(line.total.reason == (isTooMuch ? .manyHeads : .none))
        #expect(isTooMuch || line.total.finished == 2_500)
    }

    @Test func aBurstOfHeadsIsReadAndNoMore() {
        var line = ScannedConnection()
        for _ in 0..<1_000 {
            line.client(Self.request)
            line.server(Self.answer)
        }
        #expect(line.total.reason == .manyHeads)
        // What there is at once, and what the time before gave back.
        #expect(line.total.started >= 120 && line.total.started <= 260)
    }

    /// The size of a chunk costs a byte, its content nothing.
    @Test func bodiesCostNothing() {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\n\r\n")
        line.server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        let chunk = "400\r\n" + String(repeating: "x", count: 1_024) + "\r\n"
        for _ in 0..<20_000 { line.server(chunk) }
        #expect(line.total.reason == .none)
    }

    @Test func fieldBlocksOfHTTP2AreReadAtARate() {
        for milliseconds in [UInt64(1), 100] {
            var line = HTTP2Tests.open()
            let path = (":path", "/" + String(repeating: "z", count: 900))
            for index in 0..<2_000 {
                line.now += milliseconds * 1_000_000
                line.send(
                    .client,
                    HTTP2Writer.headers(
                        UInt32(index * 2 + 1), [(":method", "GET"), path], ends: true))
            }
            #expect(line.total.reason == (milliseconds == 1 ? .manyHeads : .none))
        }
    }

    @Test func framesAndSettingsWithoutEndAreNotRead() {
        let ping = HTTP2Writer.frame(6, [UInt8](repeating: 0, count: 8))
        let settings = HTTP2Writer.settings((0..<2_000).map { _ in (99, 1) })
        for (frame, count) in [(ping, 300_000), (settings, 300)] {
            var line = HTTP2Tests.open()
            for _ in 0..<count where line.total.reason == .none { line.send(.client, frame) }
            #expect(line.total.reason == .manyHeads)
        }
    }

    private func objective(_ name: String) -> Objective {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\nx-gateway-inference-objective: \(name)\r\n\r\n")
        return line.total.requests.first?.objective ?? .none
    }

    @Test func everyObjectiveIsFoundInItsName() {
        let words: [(Objective, [String])] = [
            (.interactive, [
                "interactive", "realtime", "real-time", "chat", "critical", "premium", "latency",
            ]),
            (.batch, [
                "batch", "background", "offline", "bulk", "sheddable", "best-effort", "throughput",
            ]),
        ]
        for (meaning, names) in words {
            for name in names {
                for whole in [name, "x-" + name.uppercased(), name + "-2", "c" + name] {
                    #expect(objective(whole) == meaning, "\(whole)")
                }
            }
        }
        #expect(objective("chat-batch") == .batch)
        #expect(objective("batch-chat") == .batch)
        #expect(objective("cha") == .other)
        #expect(objective("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb") == .other)
    }

    @Test(arguments: [(32, Objective.batch), (33, .other)])
    func longObjectivesAreNotSearched(count: Int, meaning: Objective) {
        #expect(objective(String(repeating: "x", count: count - 5) + "batch") == meaning)
    }
}
