import PacketFormats
import PacketMemory

/// A few buffers for bytes that came before those that precede them.
///
/// A connection that finds none gives up on gaps in its heads, nothing worse. A tunnel may have a
/// quarter of them.
struct HoldBuffers: ~Copyable {
    /// Names a buffer and its use; a later use has another number.
    struct Ticket {
        var index: Int16
        var use: UInt32

        static let none = Ticket(index: -1, use: 0)
        var isNone: Bool { index < 0 }
    }

    private struct Buffer {
        var use: UInt32 = 0
        var isTaken = false
        var tunnel = 0
        var since: UInt64 = 0
        var sequence: UInt32 = 0
        var count = 0
    }

    private var buffers: FixedTable<Buffer>
    private let arena: ByteArena

    init() {
        buffers = FixedTable(repeating: Buffer(), count: Self.countMax)
        arena = ByteArena(count: Self.countMax * Self.byteCount)
    }

    deinit {}

    /// Keeps bytes, behind those that the ticket has already.
    ///
    /// - Returns: `nil` if they do not follow, do not fit, or no buffer is free.
    mutating func keep(
        _ bytes: ByteRegion, sequence: UInt32, ticket: Ticket, tunnel: Int, now: UInt64
    ) -> Ticket? {
        if ticket.isNone {
            guard bytes.count <= Self.byteCount, let index = takeFree(tunnel: tunnel, now: now)
            else { return nil }
            buffers[index].use &+= 1
            buffers[index].isTaken = true
            buffers[index].tunnel = tunnel
            buffers[index].since = now
            buffers[index].sequence = sequence
            buffers[index].count = bytes.count
            memory(index).copy(from: bytes)
            return Ticket(index: Int16(index), use: buffers[index].use)
        }
        guard isValid(ticket) else { return nil }
        let index = Int(ticket.index)
        let count = buffers[index].count
        let place = Int(Int32(bitPattern: sequence &- buffers[index].sequence))
        guard place >= 0, place <= count, place &+ bytes.count <= Self.byteCount else {
            return nil
        }
        if place &+ bytes.count > count {
            memory(index).copy(from: bytes, to: place)
            buffers[index].count = place &+ bytes.count
        }
        return ticket
    }

    /// - Returns: `nil` if the buffer went to another connection.
    func held(_ ticket: Ticket) -> (sequence: UInt32, bytes: ByteRegion)? {
        guard isValid(ticket) else { return nil }
        let index = Int(ticket.index)
        return (buffers[index].sequence, memory(index).prefix(buffers[index].count))
    }

    mutating func release(_ ticket: Ticket) {
        if isValid(ticket) { buffers[Int(ticket.index)].isTaken = false }
    }

    private func isValid(_ ticket: Ticket) -> Bool {
        guard !ticket.isNone else { return false }
        let index = Int(ticket.index)
        return buffers[index].isTaken && buffers[index].use == ticket.use
    }

    private func takeFree(tunnel: Int, now: UInt64) -> Int? {
        var (free, itsOwn): (Int?, Int) = (nil, 0)
        for index in 0..<buffers.count {
            if !buffers[index].isTaken
                || now &- buffers[index].since > Self.holdNanosecondsMax
            {
                free = index
            } else if buffers[index].tunnel == tunnel {
                itsOwn &+= 1
            }
        }
        return itsOwn < Self.countMax / 4 ? free : nil
    }

    private func memory(_ index: Int) -> ByteRegion {
        arena.whole.region(at: index &* Self.byteCount, count: Self.byteCount)
    }

    static let countMax = 64
    static let byteCount = 4096
    static let holdNanosecondsMax: UInt64 = 1_000_000_000
}
