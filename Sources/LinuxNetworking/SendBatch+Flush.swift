import CLinux
import Glibc
import PacketMemory

extension SendBatch {
    /// Hands the messages to the kernel, in order.
    ///
    /// Messages that the socket has no room for stay, to be flushed again when it is writable. A
    /// message that fails otherwise is left out and listed as an incident.
    /// - Returns: Messages sent; -EAGAIN when there was no room for any. sendmmsg
    public func flush(on socket: UDPSocket) -> Int {
        var sent = 0
        unsafe state.pointee.incidentCount = 0
        while unsafe state.pointee.first < state.pointee.end {
            let first = unsafe state.pointee.first
            let status = attempt(first, socket.fileDescriptor)
            if status > 0 {
                sent &+= status
                unsafe state.pointee.first = first &+ status
            } else if status == -Int(EAGAIN) {
                return sent > 0 ? sent : status
            } else if status != -Int(EINTR) && !recover(first, Int32(-status)) {
                note(first, Int32(-status), isSentWithoutSource: false)
                unsafe state.pointee.first = first &+ 1
            }
        }
        removeAll()
        return sent
    }

    /// Sends as many messages as one way of sending allows, from `first` on.
    /// - Returns: Messages sent, or -errno of the first.
    private func attempt(_ first: Int, _ descriptor: Int32) -> Int {
        let entry = unsafe entries[first]
        if entry.isSplit || (isSegmentationDisabled && entry.segmentByteCount > 0) {
            return sendPieces(of: first, descriptor)
        }
        var end = unsafe state.pointee.end
        if isSegmentationDisabled {
            end = first &+ 1
            while unsafe end < state.pointee.end && entries[end].segmentByteCount == 0 {
                end &+= 1
            }
        }
        return Int(unsafe clinux_sendmmsg(descriptor, headers + first, UInt32(end &- first)))
    }

    /// Finds another way to send a message that failed.
    /// - Returns: `false` when there is none.
    private func recover(_ index: Int, _ error: Int32) -> Bool {
        let entry = unsafe entries[index]
        if entry.segmentByteCount > 0 && !entry.isSplit && !isSegmentationDisabled
            && UDPSocket.isSegmentationFault(error)
        {
            // EIO is the device's answer, the others concern this message.
            if error == EIO { disableSegmentation(error: error) }
            unsafe entries[index].isSplit = true
            return true
        }
        if entry.hasSource && UDPSocket.isSourceFault(error) {
            note(index, error, isSentWithoutSource: true)
            unsafe entries[index].hasSource = false
            let count = unsafe ControlMessages.write(
                into: controls + index &* ControlMessages.sentByteCountMax, name: names[index],
                trafficClass: entry.trafficClass, source: .unspecified,
                segmentByteCount: Int(entry.segmentByteCount))
            unsafe headers[index].header.msg_controllen = count
            return true
        }
        return false
    }

    /// Sends the datagrams of one run without UDP_SEGMENT.
    ///
    /// What has been sent is cut off the message's region, so that a full socket can be waited for
    /// in the middle of a run.
    /// - Returns: 1 when all are sent, or -errno.
    private func sendPieces(of index: Int, _ descriptor: Int32) -> Int {
        let segment = Int(unsafe entries[index].segmentByteCount)
        let message = unsafe headers[index].header
        while true {
            let rest = unsafe regions[index]
            var count = 0
            var offset = 0
            while count < Self.splitCapacity && offset < rest.count {
                let pieceCount = min(segment, rest.count &- offset)
                unsafe splitRegions[count] = rest.region(at: offset, count: pieceCount)
                unsafe splitHeaders[count].header.msg_name = message.msg_name
                unsafe splitHeaders[count].header.msg_namelen = message.msg_namelen
                unsafe splitHeaders[count].header.msg_control = message.msg_control
                unsafe splitHeaders[count].header.msg_controllen =
                    message.msg_controllen &- ControlMessages.segmentationByteCount
                offset &+= pieceCount
                count &+= 1
            }
            if count == 0 { return 1 }
            let sent = Int(unsafe clinux_sendmmsg(descriptor, splitHeaders, UInt32(count)))
            if sent <= 0 { return sent }
            unsafe regions[index] = rest.region(from: min(sent &* segment, rest.count))
        }
    }

    /// Lists an incident; a later one of the same message replaces the earlier.
    private func note(_ message: Int, _ error: Int32, isSentWithoutSource: Bool) {
        let segment = Int(unsafe entries[message].segmentByteCount)
        let byteCount = unsafe regions[message].count
        let incident = SendIncident(
            message: message,
            datagramCount: segment > 0 ? (byteCount &+ segment &- 1) / segment : 1,
            errno: error, isSentWithoutSource: isSentWithoutSource)
        var index = unsafe state.pointee.incidentCount
        if index > 0, unsafe incidents[index &- 1].message == incident.message { index &-= 1 }
        if index >= capacity { return }
        unsafe incidents[index] = incident
        unsafe state.pointee.incidentCount = index &+ 1
    }
}
