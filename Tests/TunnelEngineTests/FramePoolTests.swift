import PacketFormats
import Testing

@testable import TunnelEngine

@Suite struct FramePoolTests {
    @Test func everySlotIsHandedOutOnce() {
        var pool = FramePool(smallSlots: 3, largeSlots: 2)
        var small: Set<Int32> = []
        while let slot = pool.takeSmall() { #expect(small.insert(slot).inserted) }
        var large: Set<Int32> = []
        while let slot = pool.takeLarge() { #expect(large.insert(slot).inserted) }
        #expect(small == [0, 1, 2])
        #expect(large == [3, 4])
        #expect(small.allSatisfy { !pool.isLarge($0) })
        #expect(large.allSatisfy { pool.isLarge($0) })
    }

    @Test func releasedSlotComesBackFirst() {
        var pool = FramePool(smallSlots: 3, largeSlots: 2)
        let first = pool.takeSmall()!
        _ = pool.takeSmall()
        pool.release(first)
        #expect(pool.takeSmall() == first)
        let large = pool.takeLarge()!
        pool.release(large)
        #expect(pool.freeLargeCount == 2)
        #expect(pool.takeLarge() == large)
    }

    @Test func slotsDoNotOverlapAndHoldTheLongestFrame() {
        var pool = FramePool(smallSlots: 2, largeSlots: 2)
        let slots = [pool.takeSmall()!, pool.takeSmall()!, pool.takeLarge()!, pool.takeLarge()!]
        for (index, slot) in slots.enumerated() { pool.space(slot).fill(with: UInt8(index + 1)) }
        for (index, slot) in slots.enumerated() {
            let space = pool.space(slot)
            #expect(space[0] == UInt8(index + 1))
            #expect(space[space.count - 1] == UInt8(index + 1))
        }
        #expect(
            pool.space(slots[2]).count
                >= VirtioNetHeader.count + EngineLimits.packetBytesMax
                + EngineLimits.frameTailBytes)
        #expect(
            pool.smallSpace(slots[0]).count + EngineLimits.frameTailBytes
                == pool.space(slots[0]).count)
    }

    @Test func frameIsAsLongAsItWasSet() {
        var pool = FramePool(smallSlots: 1, largeSlots: 1)
        let slot = pool.takeLarge()!
        pool.setFrameCount(slot, 65_545)
        #expect(pool.frame(slot).count == 65_545)
    }
}
