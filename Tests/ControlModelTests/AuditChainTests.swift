import ControlModel
import Testing

@Suite struct AuditChainTests {
    /// A log of `count` entries.
    private func entries(_ count: Int) -> [CoordinatorAPI.AuditEntry] {
        var entries: [CoordinatorAPI.AuditEntry] = []
        for number in 1...count {
            var entry = CoordinatorAPI.AuditEntry(
                number: Int64(number), at: 1_800_000_000, actor: "api-token:1",
                action: "tenant.add", tenant: number % 2 == 0 ? "acme" : nil, subject: "acme",
                details: ["pools": "10.0.0.0/8", "a": "b"],
                previous: entries.last?.hash ?? AuditChain.beginning, hash: "")
            entry.hash = AuditChain.hash(of: entry)
            entries.append(entry)
        }
        return entries
    }

    /// How many entries hold, and whether all do.
    private func check(_ entries: [CoordinatorAPI.AuditEntry]) -> (count: Int64, holds: Bool) {
        var chain = AuditChain()
        do {
            for entry in entries { try chain.accept(entry) }
            return (chain.count, true)
        } catch {
            return (chain.count, false)
        }
    }

    @Test func untouchedLogsHold() {
        #expect(check(entries(5)) == (5, true))
        #expect(check([]) == (0, true))
    }

    /// sha256sum over the text of the documentation, written by hand.
    @Test func theHashIsTheDocumentedOne() {
        #expect(
            entries(1)[0].hash
                == "45d3f737289994d3a11c4290031134d564a6072110d1cf482c28c5111db9aefb")
    }

    @Test func everyEditedFieldIsSeen() {
        let edits: [(inout CoordinatorAPI.AuditEntry) -> Void] = [
            { $0.at += 1 }, { $0.actor = "x" }, { $0.action = "x" }, { $0.tenant = nil },
            { $0.tenant = "" }, { $0.subject = "x" }, { $0.details["a"] = "c" },
            { $0.details["c"] = "" }, { $0.details["a"] = nil }, { $0.number = 9 },
            { $0.previous = AuditChain.beginning }, { $0.hash = AuditChain.beginning },
        ]
        for edit in edits {
            var log = entries(4)
            edit(&log[1])
            #expect(check(log) == (1, false))
        }
    }

    @Test func anEditWithItsHashMendedBreaksTheNext() {
        var log = entries(4)
        log[1].actor = "x"
        log[1].hash = AuditChain.hash(of: log[1])
        #expect(check(log) == (2, false))
    }

    @Test func droppedRepeatedAndReorderedEntriesAreSeen() {
        var log = entries(5)
        log.remove(at: 2)
        #expect(check(log) == (2, false))
        log = entries(5)
        log.insert(log[2], at: 3)
        #expect(check(log) == (3, false))
        log = entries(5)
        log.swapAt(1, 2)
        #expect(check(log) == (1, false))
        log = entries(5)
        log.removeFirst()
        #expect(check(log) == (0, false))
    }

    @Test func aLogThatWasCutOffShowsByItsCount() {
        #expect(check(Array(entries(5).dropLast())) == (4, true))
    }

    /// Lengths keep one field's end from passing for the next one's begin.
    @Test func textDoesNotMoveBetweenFields() {
        var first = entries(1)[0], second = first
        first.actor = "a"
        first.action = "b"
        second.actor = "a\n1:b"
        second.action = ""
        #expect(AuditChain.hash(of: first) != AuditChain.hash(of: second))
    }

    @Test func aChainGoesOnWhereItWasLeft() throws {
        let log = entries(5)
        var chain = AuditChain(after: 3, hash: log[2].hash)
        try chain.accept(log[3])
        try chain.accept(log[4])
        #expect(chain.count == 5)
    }
}
