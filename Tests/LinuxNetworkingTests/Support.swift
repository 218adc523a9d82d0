import Glibc
import LinuxNetworking
import PacketFormats
import TestSupport
import Testing

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

/// A copy with a number that no other test is soon given once it is closed: the kernel gives the
/// lowest ones first.
func distantCopy(_ descriptor: Int32) -> Int32 {
    fcntl(descriptor, F_DUPFD, Int32.random(in: 600..<1_000))
}

/// Waits until the socket has messages, and receives them.
func receive(_ batch: ReceiveBatch, from socket: UDPSocket) -> Int {
    var count = -Int(EAGAIN)
    _ = eventually {
        count = socket.receive(batch, limit: batch.messageCapacity)
        return count != -Int(EAGAIN)
    }
    return count
}

func pattern(_ count: Int, seed: UInt8 = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) &+ seed }
}
