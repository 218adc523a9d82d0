import Telemetry
import Testing

private enum Fruit: Int, CounterKey {
    case apple, pear
    var name: String { "\(self)" }
}

@Suite struct CounterSetTests {
    @Test func countersStartAtZeroAndGrowApart() {
        let set = CounterSet<Fruit>()
        #expect(set[.apple] == 0)
        set.add(.apple)
        set.add(.pear, 41)
        set.add(.pear)
        #expect(set[.apple] == 1)
        #expect(set[.pear] == 42)
    }

    @Test func totalsAddUpTheSetsOfSeveralThreads() async {
        let sets = (0..<4).map { _ in CounterSet<Fruit>() }
        await withTaskGroup(of: Void.self) { group in
            for set in sets {
                for _ in 0..<4 {
                    group.addTask { for _ in 0..<1000 { set.add(.apple) } }
                }
            }
        }
        #expect(CounterSet.total(of: .apple, in: sets) == 16_000)
        #expect(CounterSet.total(of: .pear, in: sets) == 0)
    }
}
