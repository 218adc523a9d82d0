import PacketFormats
import PacketMemory

/// The frames a worker holds between reading them from TUN and encrypting them.
///
/// Slots are numbered: small ones first, then large ones. A slot holds the virtio header followed
/// by the packet, and keeps ``EngineLimits/frameTailBytes`` writable bytes behind it. Memory is
/// reserved at start and becomes resident when a slot is first used; slots are reused last in,
/// first out.
struct FramePool: ~Copyable {
    private let arena: ByteArena
    private let lengths: ByteArena
    private var freeSmall: SlotStack
    private var freeLarge: SlotStack
    private let smallSlots: Int
    private let largeSlots: Int

    init(smallSlots: Int = EngineLimits.smallSlots, largeSlots: Int = EngineLimits.largeSlots) {
        self.smallSlots = smallSlots
        self.largeSlots = largeSlots
        arena = ByteArena(
            count: smallSlots * EngineLimits.smallSlotBytes
                + largeSlots * EngineLimits.largeSlotBytes)
        lengths = ByteArena(count: (smallSlots + largeSlots) * MemoryLayout<UInt32>.size)
        freeSmall = SlotStack(firstSlot: 0, count: smallSlots)
        freeLarge = SlotStack(firstSlot: Int32(smallSlots), count: largeSlots)
    }

    /// The longest packet that a small slot holds.
    var smallPacketBytesMax: Int {
        EngineLimits.smallSlotBytes - EngineLimits.frameTailBytes - VirtioNetHeader.count
    }

    var freeSmallCount: Int { freeSmall.count }
    var freeLargeCount: Int { freeLarge.count }

    func isLarge(_ slot: Int32) -> Bool { Int(slot) >= smallSlots }

    /// Where a read puts its first bytes.
    func smallSpace(_ slot: Int32) -> ByteRegion {
        arena.whole.region(
            at: Int(slot) * EngineLimits.smallSlotBytes,
            count: EngineLimits.smallSlotBytes - EngineLimits.frameTailBytes)
    }

    /// Where a read puts what does not fit into a small slot: a large slot behind the place that
    /// the first bytes will be copied to.
    func overflowSpace(_ slot: Int32) -> ByteRegion {
        let firstBytes = EngineLimits.smallSlotBytes - EngineLimits.frameTailBytes
        return space(slot).region(
            at: firstBytes,
            count: EngineLimits.largeSlotBytes - EngineLimits.frameTailBytes - firstBytes)
    }

    /// The whole slot.
    func space(_ slot: Int32) -> ByteRegion {
        if Int(slot) < smallSlots {
            return arena.whole.region(
                at: Int(slot) * EngineLimits.smallSlotBytes, count: EngineLimits.smallSlotBytes)
        }
        return arena.whole.region(
            at: smallSlots * EngineLimits.smallSlotBytes
                + (Int(slot) - smallSlots) * EngineLimits.largeSlotBytes,
            count: EngineLimits.largeSlotBytes)
    }

    /// The frame in a slot: virtio header and packet.
    func frame(_ slot: Int32) -> ByteRegion {
        space(slot).prefix(Int(lengths.whole.littleEndian32(at: Int(slot) * 4)))
    }

    func setFrameCount(_ slot: Int32, _ count: Int) {
        lengths.whole.storeLittleEndian(UInt32(count), at: Int(slot) * 4)
    }

    mutating func takeSmall() -> Int32? { freeSmall.pop() }
    mutating func takeLarge() -> Int32? { freeLarge.pop() }

    mutating func release(_ slot: Int32) {
        if Int(slot) < smallSlots { freeSmall.push(slot) } else { freeLarge.push(slot) }
    }
}

/// A stack of slot numbers in memory of its own.
private struct SlotStack: ~Copyable {
    private let memory: ByteArena
    private(set) var count: Int
    private let capacity: Int

    init(firstSlot: Int32, count: Int) {
        memory = ByteArena(count: max(count, 1) * 4)
        capacity = count
        self.count = count
        for index in 0..<count {
            memory.whole.storeLittleEndian(
                UInt32(bitPattern: firstSlot + Int32(count - 1 - index)), at: index * 4)
        }
    }

    mutating func pop() -> Int32? {
        guard count > 0 else { return nil }
        count -= 1
        return Int32(bitPattern: memory.whole.littleEndian32(at: count * 4))
    }

    mutating func push(_ slot: Int32) {
        precondition(count < capacity, "a slot was released twice")
        memory.whole.storeLittleEndian(UInt32(bitPattern: slot), at: count * 4)
        count += 1
    }
}
