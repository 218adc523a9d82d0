/// Builds packets byte by byte, with checksums computed the slow and obvious way.
package struct PacketBuilder {
    package var isIPv4 = true
    package var isTCP = true
    package var source: [UInt8] = [10, 0, 0, 1]
    package var destination: [UInt8] = [10, 0, 0, 2]
    package var sourcePort: UInt16 = 40_000
    package var destinationPort: UInt16 = 443
    package var trafficClass: UInt8 = 0
    package var timeToLive: UInt8 = 64
    package var identification: UInt16 = 100
    /// The IPv4 flags and fragment offset.
    package var fragment: UInt16 = 0x4000
    package var flowLabel: UInt32 = 0
    package var ipOptions: [UInt8] = []
    /// Extension headers as (number, bytes after the next-header byte).
    package var extensionHeaders: [(number: UInt8, rest: [UInt8])] = []
    package var sequence: UInt32 = 1_000
    package var acknowledgment: UInt32 = 7
    package var flags: UInt8 = 0x10
    package var window: UInt16 = 512
    package var urgentPointer: UInt16 = 0
    package var tcpOptions: [UInt8] = []
    package var payload: [UInt8] = []

    package init() {}

    package static var tcp4: PacketBuilder { PacketBuilder() }
    package static var udp4: PacketBuilder {
        var builder = PacketBuilder()
        builder.isTCP = false
        return builder
    }
    package static var tcp6: PacketBuilder { PacketBuilder().asIPv6 }
    package static var udp6: PacketBuilder { udp4.asIPv6 }

    package var asIPv6: PacketBuilder {
        var builder = self
        builder.isIPv4 = false
        builder.source = [0xfd] + [UInt8](repeating: 0, count: 14) + [1]
        builder.destination = [0xfd] + [UInt8](repeating: 0, count: 14) + [2]
        return builder
    }

    package func with(_ change: (inout PacketBuilder) -> Void) -> PacketBuilder {
        var builder = self
        change(&builder)
        return builder
    }

    package var number: UInt8 { isTCP ? 6 : 17 }

    package var transport: [UInt8] {
        var bytes = Self.big(sourcePort) + Self.big(destinationPort)
        let checksumAt: Int
        if isTCP {
            bytes += Self.big(UInt16(sequence >> 16)) + Self.big(UInt16(sequence & 0xffff))
            bytes += Self.big(UInt16(acknowledgment >> 16))
            bytes += Self.big(UInt16(acknowledgment & 0xffff))
            bytes += [UInt8((20 + tcpOptions.count) / 4) << 4, flags] + Self.big(window)
            bytes += [0, 0] + Self.big(urgentPointer) + tcpOptions
            checksumAt = 16
        } else {
            bytes += Self.big(UInt16(8 + payload.count)) + [0, 0]
            checksumAt = 6
        }
        bytes += payload
        let pseudo = source + destination + [0, number] + Self.big(UInt16(bytes.count))
        var sum = ~Self.slowSum(pseudo + bytes)
        if sum == 0 { sum = 0xffff }
        bytes.replaceSubrange(checksumAt..<checksumAt + 2, with: Self.big(sum))
        return bytes
    }

    package var bytes: [UInt8] {
        let transport = transport
        if isIPv4 {
            let total = 20 + ipOptions.count + transport.count
            var header: [UInt8] = [0x40 | UInt8((20 + ipOptions.count) / 4), trafficClass]
            header += Self.big(UInt16(total)) + Self.big(identification) + Self.big(fragment)
            header += [timeToLive, number, 0, 0] + source + destination + ipOptions
            header.replaceSubrange(10..<12, with: Self.big(~Self.slowSum(header)))
            return header + transport
        }
        var extensions: [UInt8] = []
        for (index, header) in extensionHeaders.enumerated() {
            let isLast = index + 1 == extensionHeaders.count
            extensions += [isLast ? number : extensionHeaders[index + 1].number] + header.rest
        }
        let first = 0x6000_0000 | UInt32(trafficClass) << 20 | flowLabel
        var header = Self.big(UInt16(first >> 16)) + Self.big(UInt16(first & 0xffff))
        header += Self.big(UInt16(extensions.count + transport.count))
        header += [extensionHeaders.first?.number ?? number, timeToLive] + source + destination
        return header + extensions + transport
    }

    package static func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }

    /// RFC 1071, word by word.
    package static func slowSum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            let low = index + 1 < bytes.count ? bytes[index + 1] : 0
            sum += UInt32(bytes[index]) << 8 | UInt32(low)
            sum = (sum & 0xffff) + (sum >> 16)
        }
        return UInt16(sum)
    }

    package static func pattern(_ count: Int, _ seed: Int = 0) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 * 31 + seed * 7 + $0 / 251) }
    }
}
