import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Fetches from memory what the waiting messages need, before the first of them is opened.
    ///
    /// With thousands of peers nothing of a session is in a processor's caches when its datagram
    /// comes: where it is, its keys, its window. One after the other, these cost more than the
    /// decryption of a small packet. The loops below have no result to wait for, so the processor
    /// fetches for several messages at once.
    mutating func fetchSessions() {
        let batch = received.batch
        var sum: UInt32 = 0
        for message in received.unopened {
            let datagram = batch.region(received.index(of: message))
            guard datagram.count >= WireGuardMessage.TransportData.overhead else { continue }
            sum &+= sessions.fetch(Self.receiverIndex(of: datagram))
        }
        for message in received.unopened {
            let datagram = batch.region(received.index(of: message))
            guard datagram.count >= WireGuardMessage.TransportData.overhead,
                let session = sessions[Self.receiverIndex(of: datagram)]
            else { continue }
            sum &+= session.fetch(
                counter: datagram.littleEndian64(
                    at: WireGuardMessage.TransportData.counterOffset))
            guard tunnels.contains(session.tunnel) else { continue }
            sum &+= tunnels[session.tunnel].peers.fetch(session.peer)
        }
        fetched = sum
    }

    private static func receiverIndex(of datagram: ByteRegion) -> UInt32 {
        datagram.littleEndian32(at: WireGuardMessage.TransportData.receiverIndexOffset)
    }
}
