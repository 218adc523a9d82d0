import Foundation
import Testing

@testable import LoadGeneration

@Suite struct KindResultTests {
    private func record(_ arrivals: [UInt64], ended: UInt64) -> RequestRecord {
        var record = RequestRecord()
        record.began = 1_000_000_000
        for arrival in arrivals { record.noteChunk(at: record.began + arrival) }
        record.ended = record.began + ended
        record.bytesSent = 10
        record.bytesReceived = 20
        return record
    }

    @Test func timesAreFromBeginningAndBetweenChunks() {
        var result = KindResult()
        result.add(
            record([50_000_000, 70_000_000, 70_000_000, 1_080_000_000], ended: 1_100_000_000))
        #expect(result.firstToken.maxNanoseconds == 50_000_000)
        #expect(result.interToken.count == 3)
        #expect(result.interToken.maxNanoseconds == 1_010_000_000)
        #expect(result.interToken.nanoseconds(atQuantile: 0) == 0)
        #expect(result.whole.maxNanoseconds == 1_100_000_000)
        #expect(result.stalls == 1)
        #expect(result.chunks == 4)
    }

    @Test func gapOfASecondIsNoStall() {
        var result = KindResult()
        result.noteGap(1_000_000_000)
        #expect(result.stalls == 0)
        result.noteGap(1_000_000_001)
        #expect(result.stalls == 1)
    }

    @Test func resultIsJSONWithNullForWhatWasNotMeasured() throws {
        var result = KindResult()
        result.add(record([50_000_000], ended: 60_000_000))
        result.fail("\"first\"")
        result.fail("second")
        let whole = LoadResult(seconds: 2, kinds: [(.chat, result)], lateRequests: 0)
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(whole.json.utf8)) as? [String: Any])
        let classes = try #require(object["classes"] as? [String: [String: Any]])
        let chat = try #require(classes["chat"])
        #expect(chat["requests"] as? Int == 1)
        #expect(chat["failures"] as? Int == 2)
        #expect(chat["goodput_down_bps"] as? Double == 80)
        let first = try #require(chat["ttft_ms"] as? [String: Any])
        #expect(first["p999"] as? Double == 50)
        let gaps = try #require(chat["itl_ms"] as? [String: Any])
        #expect(gaps["p50"] is NSNull && gaps["count"] as? Int == 0)
        #expect(whole.failures == ["chat: 2 of 3 requests failed, the first with: \"first\""])
        #expect(!whole.isFailure)
    }
}
