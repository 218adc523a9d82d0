import Testing

@testable import SimulatedInference

@Suite struct RequestTraceTests {
    @Test func azureFileIsRead() throws {
        let trace = try RequestTrace(
            csv: """
                TIMESTAMP,ContextTokens,GeneratedTokens
                2023-11-16 18:15:46.6805900,374,44
                2023-11-16 18:15:50.9951690,396,109

                """)
        #expect(trace.requests.map(\.promptTokenCount) == [374, 396])
        #expect(trace.requests.map(\.outputTokenCount) == [44, 109])
    }

    @Test func columnNamesMayBeMissingAndLinesMayEndInCarriageReturns() throws {
        let trace = try RequestTrace(csv: "2023-11-16 18:15:46,1,2\r\n2023-11-16 18:15:47,0,1\r\n")
        #expect(trace.requests.map(\.outputTokenCount) == [2, 1])
    }

    @Test(arguments: [
        ("", 1, "no request"), ("TIMESTAMP,a,b\n", 1, "no request"), ("1,2\n", 1, "2 of the 3"),
        ("1,2,3\n1,2,3,4\n", 2, "4 of the 3"), ("1,2,0\n", 1, "token counts"),
        ("1,-1,3\n", 1, "token counts"), ("1,2,x\n", 1, "token counts"),
        ("1,2,10000001\n", 1, "token counts"),
    ])
    func damagedLineIsNamed(csv: String, line: Int, reason: String) {
        let error = #expect(throws: RequestTraceError.self) { try RequestTrace(csv: csv) }
        #expect(error?.line == line)
        #expect(error?.description.contains(reason) == true)
    }

    @Test func replayStartsAgainAfterTheLastRow() throws {
        let lengths = OutputLengths.replayed(try RequestTrace(csv: "1,1,5\n1,1,6\n"))
        var generator = SeededGenerator(seed: 0, sequence: 0)
        let drawn = (0..<5).map { lengths.length(ordinal: $0, using: &generator) }
        #expect(drawn == [5, 6, 5, 6, 5])
    }
}
