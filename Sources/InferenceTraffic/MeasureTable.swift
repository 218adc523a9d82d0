import PacketFormats

/// What was measured, by tunnel, class, service and peer.
///
/// Bounded: who finds no room of its own is counted without its peer, then without its service.
struct MeasureTable: ~Copyable {
    private let seed: (UInt64, UInt64)
    private var rows: GrowingTable<Row>
    /// Histograms: a run of `countsPerRow` for each row.
    private var counts: GrowingTable<UInt64>
    /// The first row of each hash; -1: none.
    private var buckets = FixedTable<Int32>(repeating: -1, count: FlowLimits.measuresMax * 2)
    private var firstFree: Int32 = -1
    private var usedCount = 0
    /// Tunnels that have rows.
    private var tunnelCount = 0

    struct Key: Equatable {
        var tunnel: Int32
        var peer: Int32
        var serviceHash: UInt64
        var trafficClass: TrafficClass
    }

    private struct Row {
        var key: Key
        var next: Int32 = -1
        var isFree = false
        var requests: UInt64 = 0
        var streams: UInt64 = 0
        var chunks: UInt64 = 0
        var streamBytes: UInt64 = 0
        var stalls: UInt64 = 0
        var retransmissions: UInt64 = 0
        var tokens: UInt64 = 0
        var firstChunkSum: UInt64 = 0
        var interChunkSum: UInt64 = 0
    }

    init(seed: (UInt64, UInt64)) {
        self.seed = seed
        rows = GrowingTable(capacity: FlowLimits.measuresMax)
        counts = GrowingTable(capacity: FlowLimits.measuresMax * MeasureBounds.countsPerRow)
    }

    deinit {}
}

/// The histograms' bounds in nanoseconds.
enum MeasureBounds {
    static let firstChunkBounds = 16
    static let interChunkBounds = 13
    /// A count for each bound, and one above, of both histograms.
    static let countsPerRow = firstChunkBounds + 1 + interChunkBounds + 1
    static let interChunkStart = firstChunkBounds + 1

    /// Where a time to the first chunk is counted. The order of
    /// ``StreamMeasure/timeToFirstChunkBoundsMicroseconds``.
    static func firstChunk(_ nanoseconds: UInt64) -> Int {
        let microseconds = nanoseconds / 1_000
        let isExact = nanoseconds % 1_000 == 0
        let value = isExact ? microseconds : microseconds + 1
        return switch value {
        case ...1_000: 0
        case ...5_000: 1
        case ...10_000: 2
        case ...20_000: 3
        case ...40_000: 4
        case ...60_000: 5
        case ...80_000: 6
        case ...100_000: 7
        case ...250_000: 8
        case ...500_000: 9
        case ...750_000: 10
        case ...1_000_000: 11
        case ...2_500_000: 12
        case ...5_000_000: 13
        case ...7_500_000: 14
        case ...10_000_000: 15
        default: 16
        }
    }

    /// The order of ``StreamMeasure/timePerOutputChunkBoundsMicroseconds``.
    static func interChunk(_ nanoseconds: UInt64) -> Int {
        let microseconds = nanoseconds / 1_000
        let isExact = nanoseconds % 1_000 == 0
        let value = isExact ? microseconds : microseconds + 1
        return switch value {
        case ...10_000: 0
        case ...25_000: 1
        case ...50_000: 2
        case ...75_000: 3
        case ...100_000: 4
        case ...150_000: 5
        case ...200_000: 6
        case ...300_000: 7
        case ...400_000: 8
        case ...500_000: 9
        case ...750_000: 10
        case ...1_000_000: 11
        case ...2_500_000: 12
        default: 13
        }
    }
}

extension MeasureTable {
    /// - Parameter rowsOfTunnel: Rows that the tunnel has; changed if it gets another.
    mutating func add(_ notes: FlowNotes, to key: Key, rowsOfTunnel: inout Int32) {
        var key = key
        var index = find(key)
        if index < 0 {
            if isCrowded(rowsOfTunnel) {
                key.peer = -1
                index = find(key)
                if index < 0 {
                    key.serviceHash = 0
                    index = find(key)
                }
            }
            if index < 0 {
                index = insert(key)
                guard index >= 0 else { return }
                if rowsOfTunnel == 0 { tunnelCount += 1 }
                rowsOfTunnel += 1
            }
        }
        rows[index].requests &+= UInt64(notes.requests)
        rows[index].streams &+= UInt64(notes.streams)
        rows[index].chunks &+= UInt64(notes.chunks)
        rows[index].streamBytes &+= UInt64(notes.streamBytes)
        rows[index].stalls &+= UInt64(notes.stalls)
        rows[index].retransmissions &+= UInt64(notes.retransmissions)
        rows[index].tokens &+= UInt64(notes.tokens)
        let first = index * MeasureBounds.countsPerRow
        if notes.firstChunkNanoseconds != 0 {
            counts[first + MeasureBounds.firstChunk(notes.firstChunkNanoseconds)] &+= 1
            rows[index].firstChunkSum &+= notes.firstChunkNanoseconds
        }
        if notes.interChunkNanoseconds != 0 {
            counts[
                first + MeasureBounds.interChunkStart
                    + MeasureBounds.interChunk(notes.interChunkNanoseconds)] &+= 1
            rows[index].interChunkSum &+= notes.interChunkNanoseconds
        }
    }

    /// Whether a tunnel with so many rows has to do with those that are shared.
    private func isCrowded(_ rowsOfTunnel: Int32) -> Bool {
        guard Int(rowsOfTunnel) >= FlowLimits.measuresPerTunnel else { return false }
        let shared = FlowLimits.measuresMax * 3 / 4
        let others = rowsOfTunnel > 0 ? tunnelCount - 1 : tunnelCount
        return usedCount >= shared || Int(rowsOfTunnel) >= shared / (others + 2)
    }

    private func bucket(_ key: Key) -> Int {
        var sip = SipHash(seed)
        sip.add(UInt64(UInt32(bitPattern: key.tunnel)) << 32 | UInt64(UInt32(bitPattern: key.peer)))
        sip.add(key.serviceHash ^ UInt64(key.trafficClass.rawValue))
        return Int(truncatingIfNeeded: sip.finish() & UInt64(buckets.count - 1))
    }

    private func find(_ key: Key) -> Int {
        var index = buckets[bucket(key)]
        while index >= 0 {
            if rows[Int(index)].key == key { return Int(index) }
            index = rows[Int(index)].next
        }
        return -1
    }

    private mutating func insert(_ key: Key) -> Int {
        var index: Int
        if firstFree >= 0 {
            index = Int(firstFree)
            firstFree = rows[index].next
            rows[index] = Row(key: key)
            for offset in 0..<MeasureBounds.countsPerRow {
                counts[index * MeasureBounds.countsPerRow + offset] = 0
            }
        } else {
            guard let added = rows.append(Row(key: key)) else { return -1 }
            index = added
            for _ in 0..<MeasureBounds.countsPerRow { _ = counts.append(0) }
        }
        let bucket = bucket(key)
        rows[index].next = buckets[bucket]
        buckets[bucket] = Int32(index)
        usedCount += 1
        return index
    }

    private mutating func free(_ index: Int) {
        let bucket = bucket(rows[index].key)
        var place = buckets[bucket]
        if place == Int32(index) {
            buckets[bucket] = rows[index].next
        } else {
            while place >= 0, rows[Int(place)].next != Int32(index) {
                place = rows[Int(place)].next
            }
            if place >= 0 { rows[Int(place)].next = rows[index].next }
        }
        rows[index].isFree = true
        rows[index].next = firstFree
        firstFree = Int32(index)
        usedCount -= 1
    }
}

// MARK: - Control

extension MeasureTable {
    mutating func remove(tunnel: Int32) {
        var hadRows = false
        for index in 0..<rows.count where !rows[index].isFree && rows[index].key.tunnel == tunnel {
            free(index)
            hadRows = true
        }
        if hadRows { tunnelCount -= 1 }
    }

    /// What was measured of peers is counted as nobody's.
    ///
    /// - Returns: Rows of the tunnel that became free.
    mutating func remove(peers: Set<Int32>, of tunnel: Int32) -> Int32 {
        var freed: Int32 = 0
        for index in 0..<rows.count {
            guard !rows[index].isFree, rows[index].key.tunnel == tunnel,
                rows[index].key.peer >= 0, peers.contains(rows[index].key.peer)
            else { continue }
            var key = rows[index].key
            key.peer = -1
            let heir = find(key)
            if heir < 0 {
                rehash(index, as: key)
            } else {
                merge(index, into: heir)
                free(index)
                freed += 1
            }
        }
        return freed
    }

    private mutating func rehash(_ index: Int, as key: Key) {
        var row = rows[index]
        free(index)
        // It was freed just now: the next one to be taken.
        firstFree = rows[index].next
        usedCount += 1
        row.key = key
        let bucket = bucket(key)
        row.next = buckets[bucket]
        rows[index] = row
        buckets[bucket] = Int32(index)
    }

    private mutating func merge(_ index: Int, into heir: Int) {
        let row = rows[index]
        rows[heir].requests &+= row.requests
        rows[heir].streams &+= row.streams
        rows[heir].chunks &+= row.chunks
        rows[heir].streamBytes &+= row.streamBytes
        rows[heir].stalls &+= row.stalls
        rows[heir].retransmissions &+= row.retransmissions
        rows[heir].tokens &+= row.tokens
        rows[heir].firstChunkSum &+= row.firstChunkSum
        rows[heir].interChunkSum &+= row.interChunkSum
        for offset in 0..<MeasureBounds.countsPerRow {
            counts[heir * MeasureBounds.countsPerRow + offset] &+=
                counts[index * MeasureBounds.countsPerRow + offset]
        }
    }

    /// Rows of one tunnel. Allocates.
    func all(of tunnel: Int32, rules: ClassRules) -> [StreamMeasure] {
        var result: [StreamMeasure] = []
        for index in 0..<rows.count {
            let row = rows[index]
            guard !row.isFree, row.key.tunnel == tunnel else { continue }
            var measure = StreamMeasure(
                trafficClass: row.key.trafficClass,
                service: rules.serviceName(row.key.serviceHash), peer: row.key.peer)
            measure.requests = row.requests
            measure.streams = row.streams
            measure.chunks = row.chunks
            measure.streamBytes = row.streamBytes
            measure.stalls = row.stalls
            measure.retransmissions = row.retransmissions
            measure.tokens = row.tokens
            measure.firstChunkSumNanoseconds = row.firstChunkSum
            measure.interChunkSumNanoseconds = row.interChunkSum
            let first = index * MeasureBounds.countsPerRow
            measure.firstChunkCounts = (0..<MeasureBounds.interChunkStart).map {
                counts[first + $0]
            }
            measure.interChunkCounts = (MeasureBounds.interChunkStart..<MeasureBounds.countsPerRow)
                .map { counts[first + $0] }
            result.append(measure)
        }
        return result
    }
}
