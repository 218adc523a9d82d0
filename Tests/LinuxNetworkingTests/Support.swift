import Glibc
import LinuxNetworking
import PacketFormats
import TestSupport
import Testing

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

/// A copy with a number that no other test is soon given once it is closed: the kernel gives the
/// lowest ones first, and tests that pass descriptors have more than a thousand.
func distantCopy(_ descriptor: Int32) -> Int32 {
    let copy = fcntl(descriptor, F_DUPFD, Int32.random(in: 3_000..<8_000))
    return copy >= 0 ? copy : fcntl(descriptor, F_DUPFD, Int32.random(in: 600..<1_000))
}

/// Waits until an interface is not there any more. A process that another test starts has copies
/// of all descriptors for a moment, and with them the device.
func isGone(_ name: String, _ netlink: RoutingNetlink) -> Bool {
    eventually { (try? netlink.linkByName(name)) == nil }
}

/// Waits until `count` messages have come, and receives them into places of their own, from `first`
/// on: a busy kernel delivers them one by one, and later than it takes them.
func receive(
    _ count: Int, into batch: ReceiveBatch, from socket: UDPSocket, at first: Int = 0
) -> Int {
    var place = first
    _ = eventually {
        while place < batch.messageCapacity {
            let more = socket.receive(batch, at: place, limit: batch.messageCapacity)
            if more <= 0 { break }
            place += more
        }
        return place >= first + count
    }
    return place - first
}

func pattern(_ count: Int, seed: UInt8 = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) &+ seed }
}
