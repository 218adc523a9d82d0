import PacketFormats
import Testing

@testable import NodeAgent

@Suite struct EndpointBookTests {
    @Test func namesAreLookedUpOnceAndAgainAfterAWhile() throws {
        var book = EndpointBook()
        let address = try #require(Endpoint("192.0.2.1:51820"))
        let direct = book.endpoint("192.0.2.1:51820"), unknown = book.endpoint("hq.example:1")
        #expect(direct == address && unknown == nil)
        let due = book.takeDue(at: 100) { _ in true }
        #expect(due.map { $0.1 } == ["hq.example"])
        let underWay = book.takeDue(at: 100_000) { _ in true }
        #expect(underWay.isEmpty)
        let failed = book.note(nil, of: "hq.example:1", at: 100)
        #expect(!failed)
        let retried = book.takeDue(at: 102) { _ in true }
        #expect(retried.count == 1)
        let isNew = book.note(address, of: "hq.example:1", at: 102)
        let known = book.endpoint("hq.example:1")
        #expect(isNew && known == address)
        let refreshed = book.takeDue(at: 402) { _ in true }
        #expect(refreshed.count == 1)
        let isNewAgain = book.note(address, of: "hq.example:1", at: 402)
        #expect(!isNewAgain)
    }

    @Test func noMoreNamesAreLookedUpAtOnceThanThereIsRoomFor() {
        var book = EndpointBook()
        for number in 0..<20 { _ = book.endpoint("hq-\(number).example:51820") }
        let counts = [8, 0, 8, 8].map { room in
            book.takeDue(at: 100, countMax: room) { _ in true }.count
        }
        #expect(counts == [8, 0, 8, 4])
    }

    @Test func namesThatNobodyHasAreForgotten() {
        var book = EndpointBook()
        _ = book.endpoint("hq.example:1")
        let due = book.takeDue(at: 100) { _ in false }
        #expect(due.isEmpty)
    }
}
