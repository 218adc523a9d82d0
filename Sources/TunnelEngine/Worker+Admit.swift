import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Empties the TUN queue into the scheduler, up to a budget.
    ///
    /// - Returns: `true` if there was a frame.
    mutating func admitFrames() -> Bool {
        now = Clock.monotonicNanoseconds()
        var frameCount = 0
        while frameCount < EngineLimits.framesPerDrain {
            guard let large = takeSpareLargeSlot(), let small = takeSmallSlot() else { break }
            let byteCount = readFrame(small, large)
            guard byteCount > 0 else {
                frames.release(small)
                if TunQueue.isDeviceGone(byteCount) { reportDeviceGone() }
                break
            }
            frameCount += 1
            admit(keep(small, large, byteCount))
        }
        guard frameCount > 0 else { return false }
        count(.tunReads, frameCount)
        return true
    }

    /// Says so once, and no longer waits for frames that will never come.
    private mutating func reportDeviceGone() {
        guard !isDeviceGone else { return }
        isDeviceGone = true
        try? loop.remove(tun.fileDescriptor)
        post(.deviceGone)
    }

    /// - Returns: Bytes of the frame with its virtio header; 0 or less if there was none.
    private func readFrame(_ small: Int32, _ large: Int32) -> Int {
        let first = frames.smallSpace(small)
        let overflow = frames.overflowSpace(large)
        if hasVirtioHeader { return tun.read(first, overflow) }
        first.prefix(VirtioNetHeader.count).fill(with: 0)
        let byteCount = tun.read(first.region(from: VirtioNetHeader.count), overflow)
        return byteCount > 0 ? byteCount + VirtioNetHeader.count : byteCount
    }

    /// Decides which slot holds the frame: what spilled over needs its beginning in front of it.
    private mutating func keep(_ small: Int32, _ large: Int32, _ byteCount: Int) -> Int32 {
        let first = frames.smallSpace(small)
        guard byteCount > first.count else {
            frames.setFrameCount(small, byteCount)
            return small
        }
        frames.space(large).copy(from: first)
        frames.setFrameCount(large, byteCount)
        frames.release(small)
        spareLargeSlot = nil
        return large
    }

    private mutating func admit(_ slot: Int32) {
        let frame = frames.frame(slot)
        guard frame.count > VirtioNetHeader.count,
            IPPacket(frame.region(from: VirtioNetHeader.count)) != nil
        else {
            count(DropReason.notIP)
            return frames.release(slot)
        }
        enqueue(slot)
    }

    mutating func enqueue(_ slot: Int32) {
        let packet = frames.frame(slot).region(from: VirtioNetHeader.count)
        let isQueued = queues.enqueue(
            slot: slot, flowHash: flowHash(of: packet, seed: flowSeed),
            byteCount: packet.count, now: now)
        if !isQueued {
            count(.queueOverflow)
            frames.release(slot)
        }
    }

    /// A slot to read into; the longest queue gives one up when all are in use.
    private mutating func takeSmallSlot() -> Int32? {
        if let slot = frames.takeSmall() { return slot }
        shorten(untilFree: { $0.freeSmallCount > 0 })
        return frames.takeSmall()
    }

    private mutating func takeSpareLargeSlot() -> Int32? {
        if let spareLargeSlot { return spareLargeSlot }
        if frames.freeLargeCount == 0 { shorten(untilFree: { $0.freeLargeCount > 0 }) }
        spareLargeSlot = frames.takeLarge()
        return spareLargeSlot
    }

    /// The overload valve: drops from the longest queue, so that the TUN queue never stands still
    /// and a sparse flow's packet is not stuck behind bulk that has nowhere to go.
    private mutating func shorten(untilFree isEnough: (borrowing FramePool) -> Bool) {
        while !isEnough(frames), let slot = queues.dropFromLongest() {
            count(.queueOverflow)
            frames.release(slot)
        }
    }
}
