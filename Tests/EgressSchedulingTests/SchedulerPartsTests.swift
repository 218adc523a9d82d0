import TestSupport
import Testing

@testable import EgressScheduling

/// The tables under `TenantQueues`, each against a simple one.
@Suite struct SchedulerPartsTests {
    @Test(arguments: 0..<20)
    func theHeapsFirstHasTheSmallestKey(seed: UInt64) {
        print("tenant heap seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let tenantCount = Int.random(in: 1...40, using: &random)
        var heap = TenantHeap()
        heap.reserve(tenantCount)
        var keys = [UInt64](repeating: 0, count: tenantCount)
        var members = Set<Int>()
        for step in 0..<5_000 {
            let tenant = Int.random(in: 0..<tenantCount, using: &random)
            let key = UInt64.random(in: 0...50, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4 where !members.contains(tenant):
                heap.insert(tenant, key: key)
                keys[tenant] = key
                members.insert(tenant)
            case 4..<7:
                heap.setKey(key, of: tenant)
                keys[tenant] = key
            case 7..<9:
                heap.remove(tenant)
                members.remove(tenant)
            case 9 where random.chance(percent: 5):
                heap.lowerKeys(by: 3)
                keys = keys.map { $0 < 3 ? 0 : $0 - 3 }
            default: break
            }
            let state = [heap.count, heap.isEmpty ? 1 : 0]
            #expect(state == [members.count, members.isEmpty ? 1 : 0])
            if !members.isEmpty {
                let first = heap.first, firstKey = heap.firstKey
                #expect(members.contains(first), "seed \(seed), step \(step)")
                let least = members.map { keys[$0] }.min()
                #expect(firstKey == least && keys[first] == least, "seed \(seed), step \(step)")
            }
            var listed = Set<Int>()
            for place in 0..<heap.count { listed.insert(heap.member(at: place)) }
            #expect(listed == members)
            let isMember = heap.contains(tenant), keyNow = heap.key(of: tenant)
            #expect(isMember == members.contains(tenant) && keyNow == keys[tenant])
        }
    }

    @Test func aLargerHeapKeepsItsMembers() {
        var heap = TenantHeap()
        heap.reserve(3)
        for (tenant, key) in [(0, 9), (1, 4), (2, 7)] as [(Int, UInt64)] {
            heap.insert(tenant, key: key)
        }
        heap.reserve(10)
        heap.insert(9, key: 5)
        var order: [Int] = []
        while !heap.isEmpty {
            order.append(heap.first)
            heap.remove(heap.first)
        }
        #expect(order == [1, 9, 2, 0])
    }

    /// Tenants with one key are served in turn, not one of them for ever.
    @Test func equalKeysTakeTurns() {
        var heap = TenantHeap()
        heap.reserve(4)
        for tenant in 0..<4 { heap.insert(tenant, key: 0) }
        var served = [0, 0, 0, 0]
        for _ in 0..<400 {
            let tenant = heap.first
            served[tenant] += 1
            heap.setKey(heap.key(of: tenant) + 1, of: tenant)
        }
        #expect(served == [100, 100, 100, 100])
    }

    @Test(arguments: 0..<10)
    func rangesNeverOverlapAndJoinAgain(seed: UInt64) {
        print("range allocator seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var allocator = RangeAllocator()
        var taken: [Range<Int>] = []
        for _ in 0..<2_000 {
            if random.chance(percent: 55) {
                let count = 1 << Int.random(in: 0...6, using: &random)
                if let range = allocator.take(count) {
                    #expect(range.count == count && range.upperBound <= allocator.capacity)
                    #expect(taken.allSatisfy { !$0.overlaps(range) })
                    taken.append(range)
                } else {
                    allocator.grow(to: allocator.capacity + 2 * count)
                }
            } else if let range = taken.randomElement(using: &random) {
                taken.removeAll { $0 == range }
                allocator.giveBack(range)
            }
        }
        for range in taken { allocator.giveBack(range) }
        #expect(allocator.take(allocator.capacity) == 0..<allocator.capacity)
    }

    @Test(arguments: 0..<20)
    func aLongQueueIsAtLeastHalfTheLongest(seed: UInt64) {
        print("length levels seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let queueCount = Int.random(in: 1...30, using: &random)
        var levels = LengthLevels()
        levels.reserve(queues: 2 * queueCount)
        levels.reserve(groups: 2)
        var lengths = [Int?](repeating: nil, count: 2 * queueCount)
        for step in 0..<5_000 {
            let queue = Int.random(in: 0..<2 * queueCount, using: &random)
            let group = queue / queueCount
            let bits = Int.random(in: 0...40, using: &random)
            let length = random.chance(percent: 40) ? nil : Int(random.next() & (1 << bits - 1))
            levels.note(queue, of: group, length: length)
            lengths[queue] = length
            for group in 0..<2 {
                let members = group * queueCount..<(group + 1) * queueCount
                let longest = members.compactMap { lengths[$0] }.max()
                let found = levels.longest(of: group)
                #expect((found == nil) == (longest == nil), "seed \(seed), step \(step)")
                guard let found, let longest else { continue }
                #expect(members.contains(found), "seed \(seed), step \(step)")
                let length = lengths[found] ?? -1
                // Beyond 2^31 all are alike.
                #expect(
                    length >= 0 && min(length, 1 << 31) >= min(longest, 1 << 31) / 2,
                    "seed \(seed), step \(step)")
            }
        }
    }
}
