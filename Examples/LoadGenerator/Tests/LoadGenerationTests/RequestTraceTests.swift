import Foundation
import Testing

@testable import LoadGeneration

@Suite struct RequestTraceTests {
    @Test func timesCountFromTheFirstRequest() throws {
        let trace = try RequestTrace(
            csv: """
                TIMESTAMP,ContextTokens,GeneratedTokens
                2023-11-16 18:15:46.6805900,374,44
                2023-11-16 18:15:50.9051900,396,109

                """)
        #expect(trace.requests.map(\.promptTokenCount) == [374, 396])
        #expect(trace.requests.map(\.outputTokenCount) == [44, 109])
        #expect(trace.requests[0].arrivalSeconds == 0)
        #expect(abs(trace.requests[1].arrivalSeconds - 4.2246) < 1e-6)
    }

    @Test(arguments: [
        ("2023-12-31 23:59:59", "2024-01-01 00:00:01", 2.0),
        ("2024-02-28 23:59:59", "2024-03-01 00:00:00", 86_401),
        ("2023-02-28 23:59:59", "2023-03-01 00:00:00", 1),
        ("1900-02-28T23:59:59", "1900-03-01T00:00:00", 1), ("7.5", "10", 2.5),
    ])
    func timesCrossDaysMonthsAndYears(from: String, to: String, seconds: Double) throws {
        let trace = try RequestTrace(csv: "\(from),1,1\n\(to),1,1\n")
        #expect(trace.requests[1].arrivalSeconds == seconds)
    }

    @Test(arguments: [
        ("", 1, "no request"), ("TIMESTAMP,a,b\n", 1, "no request"), ("1,2\n", 1, "2 of the 3"),
        ("1,2,3\n1,2,3,4\n", 2, "4 of the 3"), ("1,2,0\n", 1, "token counts"),
        ("1,-1,3\n", 1, "token counts"), ("1,2,x\n", 1, "token counts"),
        ("1,2,10000001\n", 1, "token counts"), ("2,1,1\n1,1,1\n", 2, "before"),
        ("1,1,1\nsoon,1,1\n", 2, "no time"), ("2023-13-01 00:00:00,1,1\n", 1, "no time"),
        ("1,1,1\nnan,1,1\n", 2, "no time"), ("2023-11-16 -1:00:00,1,1\n", 1, "no time"),
    ])
    func damagedLineIsNamed(csv: String, line: Int, reason: String) {
        let error = #expect(throws: RequestTraceError.self) { try RequestTrace(csv: csv) }
        #expect(error?.line == line)
        #expect(error?.description.contains(reason) == true)
    }

    @Test(arguments: ["azure-conversations-2023.csv", "azure-code-2023.csv"])
    func samplesThatComeWithTheExampleAreRead(name: String) throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Traces")
        let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
        let trace = try RequestTrace(csv: text)
        #expect(trace.requests.count == 600)
        #expect(trace.requests[599].arrivalSeconds > 60)
    }
}
