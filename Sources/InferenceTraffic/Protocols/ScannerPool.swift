import PacketFormats
public import PacketMemory

/// A scanner that a connection holds, until it gives up or its context goes to another.
public struct ScannerHandle: Sendable, Hashable {
    var index: UInt32
    var generation: UInt32

    public static let none = ScannerHandle(index: .max, generation: 0)
    public var isNone: Bool { index == .max }
}

/// The contexts in which one worker reads the beginnings of its connections, shared fairly among
/// tunnels.
///
/// All memory is reserved by `init`, and resident only once it is used; nothing allocates
/// afterwards.
public struct ScannerPool: ~Copyable {
    private struct Context {
        var scanner = StreamScanner()
        var generation: UInt32 = 0
        var isTaken = false
        var tunnel: Int32 = 0
        /// Neighbours by last use within the tunnel; among free contexts `newer` alone counts.
        var older: Int32 = -1
        var newer: Int32 = -1
        var lastUse: UInt64 = 0
    }

    private struct Tunnel {
        var count: Int32 = 0
        var oldest: Int32 = -1
        var newest: Int32 = -1
    }

    public let capacity: Int
    private var contexts: FixedTable<Context>
    private var tunnels: FixedTable<Tunnel>
    private var firstFree: Int32
    /// Tunnels that have contexts.
    private var activeCount = 0
    /// Where the search for a tunnel beyond its share goes on.
    private var hand = 0
    private var holds = HoldBuffers()
    private let tables: ProtocolTables
    private let arena: ByteArena

    /// - Parameters:
    ///   - capacity: Connections that can be read at once, about 5.2 KiB each.
    ///   - tunnels: Tunnels that have shares of their own; numbers from there on share with others.
    public init(capacity: Int = 1024, tunnels: Int = 1024) {
        self.capacity = capacity
        contexts = FixedTable(repeating: Context(), count: capacity)
        self.tunnels = FixedTable(repeating: Tunnel(), count: tunnels)
        tables = ProtocolTables()
        arena = ByteArena(count: capacity * Self.memoryByteCount)
        firstFree = 0
        for index in 0..<capacity {
            contexts[index].newer = index + 1 < capacity ? Int32(index + 1) : -1
        }
    }

    deinit {}

    /// Takes a context for a connection of `tunnel`.
    ///
    /// Where none is free, a tunnel that has its share loses its own least recently used one; one
    /// that has less takes from a tunnel that has more.
    /// - Complexity: O(1); with no context free O(tunnels) at worst.
    public mutating func open(tunnel: Int, now: UInt64) -> ScannerHandle {
        let tunnel = Int(UInt(bitPattern: tunnel) % UInt(tunnels.count))
        if firstFree < 0 {
            let victim = tunnels[victim(for: tunnel)].oldest
            guard victim >= 0 else { return .none }
            release(Int(victim))
        }
        let index = Int(firstFree)
        firstFree = contexts[index].newer
        contexts[index].isTaken = true
        contexts[index].tunnel = Int32(tunnel)
        contexts[index].lastUse = now
        contexts[index].scanner = StreamScanner()
        memory(index).streams.fill(with: 0)
        if tunnels[tunnel].count == 0 { activeCount += 1 }
        tunnels[tunnel].count += 1
        appendNewest(index)
        return ScannerHandle(index: UInt32(index), generation: contexts[index].generation)
    }

    /// Says where a side's bytes begin: the sequence number after its SYN.
    public mutating func begin(_ handle: ScannerHandle, _ side: StreamSide, sequence: UInt32) {
        guard let index = index(of: handle) else { return }
        contexts[index].scanner.begin(side, sequence: sequence)
    }

    /// Reads the payload of one TCP segment or of a run of them.
    ///
    /// - Parameters:
    ///   - sequence: Of the first byte.
    ///   - readsUsage: Whether bodies of answers may be searched for token counts.
    /// - Returns: What the bytes showed. With ``ScanEvents/Kinds/gaveUp`` the context has gone
    ///   back.
    public mutating func feed(
        _ handle: ScannerHandle, _ bytes: ByteRegion, sequence: UInt32, from side: StreamSide,
        readsUsage: Bool, now: UInt64
    ) -> ScanEvents {
        guard let index = index(of: handle) else { return Self.recycled }
        if now &- contexts[index].lastUse > Self.useNanoseconds { touch(index, now: now) }
        let surroundings = StreamScanner.Surroundings(
            memory: memory(index), tunnel: Int(contexts[index].tunnel),
            readsUsage: readsUsage, now: now)
        let events = contexts[index].scanner.feed(
            bytes, sequence: sequence, from: side, in: surroundings, holds: &holds,
            tables: tables)
        if events.kinds.contains(.gaveUp) { release(index) }
        return events
    }

    /// A side sends nothing more (FIN); ends a body that lasts until then.
    public mutating func end(_ handle: ScannerHandle, _ side: StreamSide) -> ScanEvents {
        guard let index = index(of: handle) else { return Self.recycled }
        let memory = memory(index)
        return contexts[index].scanner.end(side, memory: memory)
    }

    /// Gives a context back; harmless for one that is gone.
    public mutating func close(_ handle: ScannerHandle) {
        if let index = index(of: handle) { release(index) }
    }

    /// Contexts that a tunnel has.
    public func count(of tunnel: Int) -> Int {
        Int(tunnels[Int(UInt(bitPattern: tunnel) % UInt(tunnels.count))].count)
    }

    // MARK: - Shares

    /// The tunnel that loses a context to `tunnel`.
    private mutating func victim(for tunnel: Int) -> Int {
        let isNew = tunnels[tunnel].count == 0
        let share = max(capacity / (activeCount + (isNew ? 1 : 0)), 1)
        if Int(tunnels[tunnel].count) >= share { return tunnel }
        // One has more than its share, for all together have everything; with more tunnels than
        // contexts, whoever comes next has one.
        let least = activeCount < capacity ? share : 0
        for _ in 0..<tunnels.count {
            hand = hand + 1 < tunnels.count ? hand + 1 : 0
            if Int(tunnels[hand].count) > least { break }
        }
        return hand
    }

    private mutating func release(_ index: Int) {
        contexts[index].scanner.close(holds: &holds)
        unlink(index)
        let tunnel = Int(contexts[index].tunnel)
        tunnels[tunnel].count -= 1
        if tunnels[tunnel].count == 0 { activeCount -= 1 }
        contexts[index].isTaken = false
        contexts[index].generation &+= 1
        contexts[index].newer = firstFree
        firstFree = Int32(index)
    }

    private mutating func touch(_ index: Int, now: UInt64) {
        contexts[index].lastUse = now
        guard contexts[index].newer >= 0 else { return }
        unlink(index)
        appendNewest(index)
    }

    private mutating func appendNewest(_ index: Int) {
        let tunnel = Int(contexts[index].tunnel)
        let newest = tunnels[tunnel].newest
        contexts[index].older = newest
        contexts[index].newer = -1
        if newest >= 0 {
            contexts[Int(newest)].newer = Int32(index)
        } else {
            tunnels[tunnel].oldest = Int32(index)
        }
        tunnels[tunnel].newest = Int32(index)
    }

    private mutating func unlink(_ index: Int) {
        let tunnel = Int(contexts[index].tunnel)
        let (older, newer) = (contexts[index].older, contexts[index].newer)
        if older >= 0 {
            contexts[Int(older)].newer = newer
        } else {
            tunnels[tunnel].oldest = newer
        }
        if newer >= 0 {
            contexts[Int(newer)].older = older
        } else {
            tunnels[tunnel].newest = older
        }
    }

    // MARK: - Contexts

    private func index(of handle: ScannerHandle) -> Int? {
        guard handle.index < UInt32(capacity) else { return nil }
        let index = Int(handle.index)
        return contexts[index].isTaken && contexts[index].generation == handle.generation
            ? index : nil
    }

    private func memory(_ index: Int) -> ScannerMemory {
        let whole = arena.whole.region(
            at: index &* Self.memoryByteCount, count: Self.memoryByteCount)
        let entries = HPACKDynamicTable.byteCount
        return ScannerMemory(
            clientScratch: whole.region(at: 0, count: Scratch.byteCount),
            serverScratch: whole.region(at: Scratch.byteCount, count: Scratch.byteCount),
            streams: whole.region(at: 2 &* Scratch.byteCount, count: HTTP2Stream.byteCount),
            clientEntries: whole.region(at: Self.entriesOffset, count: entries),
            serverEntries: whole.region(at: Self.entriesOffset &+ entries, count: entries))
    }

    private static var entriesOffset: Int { 2 &* Scratch.byteCount &+ HTTP2Stream.byteCount }
    private static var memoryByteCount: Int {
        entriesOffset &+ 2 &* HPACKDynamicTable.byteCount
    }

    private static var recycled: ScanEvents {
        var events = ScanEvents()
        events.fail(.recycled)
        return events
    }

    /// Uses within this time count as one.
    private static var useNanoseconds: UInt64 { 100_000_000 }
}
