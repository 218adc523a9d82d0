public import PacketMemory

/// Which number an address belongs to: an adaptive radix tree over interval starts, laid out in one
/// run of memory and immutable.
///
/// A reference is an owner if it is -1 or more, and otherwise stands for node `-2 - reference`.
public final class IntervalTree: Sendable {
    /// What lookups return for an address that nobody owns.
    @inlinable public static var none: Int32 { -1 }

    private let nodes: ByteArena
    private let slots: ByteArena
    @usableFromInline let nodeRegion: ByteRegion
    @usableFromInline let slotRegion: ByteRegion
    @usableFromInline let root: Int32

    /// - Parameter prefixes: Networks and their owners, 0 or more; of nested ones the innermost
    ///   counts. Those of the other family are passed over.
    /// - Complexity: O(n log n) in the number of prefixes.
    public convenience init(_ prefixes: [IPPrefix: Int32], isIPv4: Bool) {
        self.init(IntervalStart.all(of: prefixes, isIPv4: isIPv4))
    }

    /// - Parameter starts: Ascending, the first at address 0.
    init(_ starts: [IntervalStart]) {
        var builder = Builder(starts: starts)
        root = builder.build(1..<starts.count)
        nodes = ByteArena(count: max(builder.nodes.count * NodeLayout.count, 1))
        slots = ByteArena(count: max(builder.slots.count * 4, 1))
        nodeRegion = nodes.whole
        slotRegion = slots.whole
        for (index, node) in builder.nodes.enumerated() {
            node.write(to: nodeRegion.region(at: index * NodeLayout.count, count: NodeLayout.count))
        }
        for (index, slot) in builder.slots.enumerated() {
            slotRegion.storeLittleEndian(UInt32(bitPattern: slot), at: index * 4)
        }
    }

    /// Bytes that the tree occupies.
    public var byteCount: Int { nodeRegion.count + slotRegion.count }

    /// The owner of an address that fits 32 bits, in a tree whose addresses all do.
    @inlinable
    public func lookup(narrow address: UInt32) -> Int32 {
        var reference = root
        while reference < -1 {
            let node = Int(-2 &- reference) &* NodeLayout.count
            let base = nodeRegion.littleEndian32(at: node &+ NodeLayout.base)
            guard address >= base else {
                return owner(at: node &+ NodeLayout.below)
            }
            let shift = nodeRegion.littleEndian32(at: node &+ NodeLayout.shift)
            let slot = (address &- base) &>> shift
            guard slot < nodeRegion.littleEndian32(at: node &+ NodeLayout.slotCount) else {
                return owner(at: node &+ NodeLayout.above)
            }
            reference = child(of: node, slot: slot)
        }
        return reference
    }

    /// The owner of any address.
    @inlinable
    public func lookup(wide address: UInt128) -> Int32 {
        var reference = root
        while reference < -1 {
            let node = Int(-2 &- reference) &* NodeLayout.count
            let base =
                UInt128(nodeRegion.littleEndian64(at: node &+ NodeLayout.base &+ 8)) << 64
                | UInt128(nodeRegion.littleEndian64(at: node &+ NodeLayout.base))
            guard address >= base else {
                return owner(at: node &+ NodeLayout.below)
            }
            let shift = nodeRegion.littleEndian32(at: node &+ NodeLayout.shift)
            let slot = (address &- base) &>> UInt128(shift)
            guard slot < nodeRegion.littleEndian32(at: node &+ NodeLayout.slotCount) else {
                return owner(at: node &+ NodeLayout.above)
            }
            reference = child(of: node, slot: UInt32(truncatingIfNeeded: slot))
        }
        return reference
    }

    @inlinable @inline(__always)
    func owner(at offset: Int) -> Int32 {
        Int32(bitPattern: nodeRegion.littleEndian32(at: offset))
    }

    @inlinable @inline(__always)
    func child(of node: Int, slot: UInt32) -> Int32 {
        let first = nodeRegion.littleEndian32(at: node &+ NodeLayout.firstSlot)
        let index = Int(truncatingIfNeeded: first) &+ Int(truncatingIfNeeded: slot)
        return Int32(bitPattern: slotRegion.littleEndian32(at: index &* 4))
    }
}

/// Offsets within a node, in bytes.
@usableFromInline
enum NodeLayout {
    @inlinable static var base: Int { 0 }
    @inlinable static var shift: Int { 16 }
    @inlinable static var slotCount: Int { 20 }
    @inlinable static var firstSlot: Int { 24 }
    @inlinable static var below: Int { 28 }
    @inlinable static var above: Int { 32 }
    @inlinable static var count: Int { 40 }
}

extension IntervalTree {
    /// One node before it is written down.
    private struct Node {
        /// First address of slot 0.
        var base: UInt128 = 0
        /// Each slot spans `1 << shift` addresses.
        var shift = 0
        var slotCount = 0
        var firstSlot = 0
        /// Owner of the addresses before slot 0.
        var below = IntervalTree.none
        /// Owner of the addresses after the last slot.
        var above = IntervalTree.none

        func write(to region: ByteRegion) {
            let low = UInt64(truncatingIfNeeded: base)
            let high = UInt64(truncatingIfNeeded: base >> 64)
            region.storeLittleEndian(low, at: NodeLayout.base)
            region.storeLittleEndian(high, at: NodeLayout.base + 8)
            region.storeLittleEndian(UInt32(shift), at: NodeLayout.shift)
            region.storeLittleEndian(UInt32(slotCount), at: NodeLayout.slotCount)
            region.storeLittleEndian(UInt32(firstSlot), at: NodeLayout.firstSlot)
            region.storeLittleEndian(UInt32(bitPattern: below), at: NodeLayout.below)
            region.storeLittleEndian(UInt32(bitPattern: above), at: NodeLayout.above)
        }
    }

    private struct Builder {
        let starts: [IntervalStart]
        var nodes: [Node] = []
        var slots: [Int32] = []

        /// Slots of one node at most: a quarter of a megabyte.
        static let slotCountMax = 1 << 16

        /// Builds the part of the tree that tells `range` of the starts apart.
        ///
        /// The start before `range` owns what lies before its first. Two starts always fall into
        /// different slots when they are a node's first and last, so the recursion ends: after at
        /// most one level for each address bit.
        mutating func build(_ range: Range<Int>) -> Int32 {
            guard !range.isEmpty else { return starts[range.lowerBound - 1].owner }
            let first = starts[range.lowerBound].address
            let last = starts[range.upperBound - 1].address
            var wantedBits = 2
            while 1 << wantedBits < min(range.count * 2, Self.slotCountMax) { wantedBits += 1 }
            let spanBits = UInt128.bitWidth - (last - first).leadingZeroBitCount
            var node = Node()
            node.shift = max(0, spanBits - wantedBits)
            node.base = (first >> UInt128(node.shift)) << UInt128(node.shift)
            node.slotCount = Int((last - node.base) >> UInt128(node.shift)) + 1
            node.firstSlot = slots.count
            node.below = starts[range.lowerBound - 1].owner
            node.above = starts[range.upperBound - 1].owner
            let index = nodes.count
            nodes.append(node)
            slots.append(contentsOf: repeatElement(IntervalTree.none, count: node.slotCount))
            fillSlots(of: node, range)
            return Int32(-2 - index)
        }

        private mutating func fillSlots(of node: Node, _ range: Range<Int>) {
            var next = range.lowerBound
            for slot in 0..<node.slotCount {
                let begin = next
                while next < range.upperBound,
                    Int((starts[next].address - node.base) >> UInt128(node.shift)) == slot
                {
                    next += 1
                }
                slots[node.firstSlot + slot] = slotReference(node, slot, begin..<next)
            }
        }

        private mutating func slotReference(
            _ node: Node, _ slot: Int, _ range: Range<Int>
        ) -> Int32 {
            let slotStart = node.base + UInt128(slot) << UInt128(node.shift)
            if range.count == 1, starts[range.lowerBound].address == slotStart {
                return starts[range.lowerBound].owner
            }
            // A start at the slot's first address is the owner before all the others in it.
            if let first = range.first, starts[first].address == slotStart {
                return build(first + 1..<range.upperBound)
            }
            return build(range)
        }
    }
}
