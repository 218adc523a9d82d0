import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Empties the TUN queues into the scheduler, up to a budget.
    ///
    /// - Returns: `true` if there was a frame.
    mutating func admitFrames() -> Bool {
        now = Clock.monotonicNanoseconds()
        guard let sources else {
            guard let tunnel = tunnels.single else { return false }
            return admitFrames(of: tunnel, limit: EngineLimits.framesPerDrain) > 0
        }
        let readyCount = sources.devices.wait(timeoutNanoseconds: 0)
        guard readyCount > 0 else { return false }
        let limit = max(
            EngineLimits.framesPerDrain / readyCount, EngineLimits.framesPerDeviceMin)
        var frameCount = 0
        for index in 0..<readyCount {
            let tunnel = TunnelID(
                truncatingIfNeeded: sources.devices.token(at: index) & 0xffff_ffff)
            guard tunnels.contains(tunnel) else { continue }
            frameCount += admitFrames(of: tunnel, limit: limit)
        }
        return frameCount > 0
    }

    private mutating func admitFrames(of tunnel: TunnelID, limit: Int) -> Int {
        let hasVirtioHeader = tunnels[tunnel].hasVirtioHeader
        let tun = tunnels[tunnel].tun
        var frameCount = 0
        while frameCount < limit {
            guard let large = takeSpareLargeSlot(), let small = takeSmallSlot() else { break }
            let byteCount = readFrame(tun, hasVirtioHeader, small, large)
            guard byteCount > 0 else {
                frames.release(small)
                if TunQueue.isDeviceGone(byteCount) { reportDeviceGone(tunnel) }
                break
            }
            frameCount += 1
            admit(keep(small, large, byteCount), of: tunnel)
        }
        if frameCount > 0 { count(.tunReads, frameCount, of: tunnel) }
        return frameCount
    }

    /// Says so once, and no longer waits for frames that will never come.
    private mutating func reportDeviceGone(_ tunnel: TunnelID) {
        guard !tunnels[tunnel].isDeviceGone else { return }
        tunnels[tunnel].isDeviceGone = true
        try? (sources?.devices ?? loop).remove(tunnels[tunnel].tun.fileDescriptor)
        post(.deviceGone(tunnel))
    }

    /// - Returns: Bytes of the frame with its virtio header; 0 or less if there was none.
    private mutating func readFrame(
        _ tun: TunQueue, _ hasVirtioHeader: Bool, _ small: Int32, _ large: Int32
    ) -> Int {
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

    private mutating func admit(_ slot: Int32, of tunnel: TunnelID) {
        let frame = frames.frame(slot)
        guard frame.count > VirtioNetHeader.count,
            let packet = IPPacket(frame.region(from: VirtioNetHeader.count))
        else {
            count(DropReason.notIP, of: tunnel)
            return frames.release(slot)
        }
        let header = VirtioNetHeader(reading: frame)
        let isOnePacket = header.gsoType == VirtioNetHeader.gsoNone
        let place = place(
            packet, segmentByteCount: isOnePacket ? 0 : Int(header.gsoSize), of: tunnel)
        enqueueRead(slot, place, of: tunnel)
    }

    /// A slot to read into; the longest queue gives one up when all are in use.
    mutating func takeSmallSlot() -> Int32? {
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
        while !isEnough(frames), let dropped = queues.dropFromLongest() {
            drop(dropped)
        }
    }
}
