import PacketFormats

/// Finds a record by a tenant's number for it: a hash table with chains, whose records are
/// numbered by the caller.
///
/// Numbers must not be an outsider's choice. Never allocates, except in ``reserve(_:)``.
struct NumberIndex: ~Copyable {
    private var entries: FixedTable<Entry>
    /// The first record of each chain; -1 for none. A power of two of them.
    private var chains: FixedTable<Int32>
    private var shift: UInt64 = 63

    private struct Entry {
        var number: UInt32 = 0
        /// -1: not in the index.
        var tenant: Int32 = -1
        var next: Int32 = -1
    }

    init() {
        entries = FixedTable(repeating: Entry(), count: 1)
        chains = FixedTable(repeating: -1, count: 2)
    }

    deinit {}

    /// Makes room for records 0 up to `count`, at least as many as before.
    mutating func reserve(_ count: Int) {
        var more = FixedTable(repeating: Entry(), count: count)
        for index in 0..<entries.count { more[index] = entries[index] }
        entries = more
        let bits = Int.bitWidth - max(2 * count - 1, 1).leadingZeroBitCount
        chains = FixedTable(repeating: -1, count: 1 << bits)
        shift = UInt64(64 - bits)
        for index in 0..<entries.count where entries[index].tenant >= 0 { link(index) }
    }

    /// - Returns: -1 if there is none.
    @inline(__always)
    func find(_ tenant: Int, _ number: UInt32) -> Int {
        var record = chains[chain(tenant, number)]
        while record >= 0 {
            let entry = entries[Int(record)]
            if entry.number == number && Int(entry.tenant) == tenant { break }
            record = entry.next
        }
        return Int(record)
    }

    /// - Precondition: Neither the record nor the tenant's number is in the index.
    mutating func insert(_ record: Int, _ tenant: Int, _ number: UInt32) {
        entries[record].number = number
        entries[record].tenant = Int32(truncatingIfNeeded: tenant)
        link(record)
    }

    mutating func remove(_ record: Int) {
        let entry = entries[record]
        guard entry.tenant >= 0 else { return }
        let chain = chain(Int(entry.tenant), entry.number)
        var other = Int(chains[chain])
        if other == record {
            chains[chain] = entry.next
        } else {
            while Int(entries[other].next) != record { other = Int(entries[other].next) }
            entries[other].next = entry.next
        }
        entries[record] = Entry()
    }

    private mutating func link(_ record: Int) {
        let chain = chain(Int(entries[record].tenant), entries[record].number)
        entries[record].next = chains[chain]
        chains[chain] = Int32(truncatingIfNeeded: record)
    }

    @inline(__always)
    private func chain(_ tenant: Int, _ number: UInt32) -> Int {
        let key = UInt64(truncatingIfNeeded: tenant) &<< 32 | UInt64(number)
        return Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) &>> shift)
    }
}
