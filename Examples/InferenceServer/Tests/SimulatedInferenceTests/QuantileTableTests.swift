import Testing

@testable import SimulatedInference

@Suite struct QuantileTableTests {
    @Test func endsAreTheSmallestAndLargestAnswerOfTheTrace() {
        #expect(QuantileTable.azureConversations.size(at: 0) == 7)
        #expect(QuantileTable.azureConversations.size(at: 1) == 1000)
        #expect(QuantileTable.azureCode.size(at: 0) == 6)
        #expect(QuantileTable.azureCode.size(at: 1) == 1899)
    }

    @Test func fractionsOutsideAreClamped() {
        #expect(QuantileTable.azureCode.size(at: -1) == 6)
        #expect(QuantileTable.azureCode.size(at: 2) == 1899)
    }

    @Test func publishedQuantilesAreMet() {
        let chat = QuantileTable.azureConversations
        #expect([0.5, 0.9, 0.99].map(chat.size(at:)) == [129, 424, 601])
        let code = QuantileTable.azureCode
        #expect([0.5, 0.9, 0.99].map(code.size(at:)) == [13, 55, 251])
    }

    @Test func sizesLieOnStraightLinesBetweenPoints() {
        let table = QuantileTable(fiftieths: [10, 20], tail: [30, 30, 30, 30])
        #expect(table.size(at: 0.01) == 15)
    }

    @Test(arguments: [QuantileTable.azureConversations, .azureCode])
    func sizesNeverFall(table: QuantileTable) {
        let sizes = (0...1000).map { table.size(at: Double($0) / 1000) }
        #expect(zip(sizes, sizes.dropFirst()).allSatisfy { $0 <= $1 })
    }
}
