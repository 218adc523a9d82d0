import PacketFormats

/// Some of the tenants, the one with the smallest key first: a binary heap that knows where each
/// tenant is.
///
/// A tenant's key outlives its membership. Never allocates, except in ``reserve(_:)``.
struct TenantHeap: ~Copyable {
    private(set) var count = 0

    /// Tenants by place, the root at 0.
    private var members: FixedTable<Int32>
    private var records: FixedTable<Record>

    private struct Record {
        var key: UInt64 = 0
        /// -1: not a member.
        var place: Int32 = -1
    }

    init() {
        members = FixedTable(repeating: -1, count: 1)
        records = FixedTable(repeating: Record(), count: 1)
    }

    deinit {}

    /// Makes room for tenants 0 up to `capacity`, at least as many as before.
    mutating func reserve(_ capacity: Int) {
        var moreMembers = FixedTable<Int32>(repeating: -1, count: capacity)
        var moreRecords = FixedTable(repeating: Record(), count: capacity)
        for index in 0..<members.count { moreMembers[index] = members[index] }
        for index in 0..<records.count { moreRecords[index] = records[index] }
        members = moreMembers
        records = moreRecords
    }

    @inline(__always)
    var isEmpty: Bool { count == 0 }

    /// Asked only of a heap that is not empty.
    @inline(__always)
    var first: Int { Int(members[0]) }

    @inline(__always)
    var firstKey: UInt64 { records[Int(members[0])].key }

    /// The members in no order.
    func member(at place: Int) -> Int { Int(members[place]) }

    @inline(__always)
    func contains(_ tenant: Int) -> Bool { records[tenant].place >= 0 }

    @inline(__always)
    func key(of tenant: Int) -> UInt64 { records[tenant].key }

    /// Sets a key, and moves the tenant to where it belongs if it is a member.
    mutating func setKey(_ key: UInt64, of tenant: Int) {
        let old = records[tenant].key
        records[tenant].key = key
        let place = Int(records[tenant].place)
        guard place >= 0, key != old else { return }
        if key > old { sink(tenant, from: place) } else { rise(tenant, from: place) }
    }

    /// Makes a tenant a member, who was none.
    mutating func insert(_ tenant: Int, key: UInt64) {
        records[tenant].key = key
        count &+= 1
        rise(tenant, from: count &- 1)
    }

    /// Ends a membership, if there is one.
    mutating func remove(_ tenant: Int) {
        let place = Int(records[tenant].place)
        guard place >= 0 else { return }
        records[tenant].place = -1
        count &-= 1
        guard place < count else { return }
        let last = Int(members[count])
        let removed = records[tenant].key
        if records[last].key > removed { sink(last, from: place) } else { rise(last, from: place) }
    }

    /// Lowers all keys by `amount`, none below 0, which keeps their order.
    mutating func lowerKeys(by amount: UInt64) {
        for index in 0..<records.count {
            let key = records[index].key
            records[index].key = key &- min(key, amount)
        }
    }

    private mutating func rise(_ tenant: Int, from start: Int) {
        let key = records[tenant].key
        var place = start
        while place > 0 {
            let parent = (place &- 1) / 2
            let other = Int(members[parent])
            guard key < records[other].key else { break }
            put(other, at: place)
            place = parent
        }
        put(tenant, at: place)
    }

    private mutating func sink(_ tenant: Int, from start: Int) {
        let key = records[tenant].key
        var place = start
        while true {
            var child = 2 &* place &+ 1
            guard child < count else { break }
            var other = Int(members[child])
            if child &+ 1 < count {
                let right = Int(members[child &+ 1])
                if records[right].key < records[other].key {
                    child &+= 1
                    other = right
                }
            }
            // Those with equal keys take turns: who sinks goes behind them.
            guard records[other].key <= key else { break }
            put(other, at: place)
            place = child
        }
        put(tenant, at: place)
    }

    @inline(__always)
    private mutating func put(_ tenant: Int, at place: Int) {
        members[place] = Int32(truncatingIfNeeded: tenant)
        records[tenant].place = Int32(truncatingIfNeeded: place)
    }
}
