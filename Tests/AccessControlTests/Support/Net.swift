import AccessControl
import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// A tenant with plants, offices and a headquarters with models behind it.
struct Net {
    static let plant = "10.64.0.2"
    static let office = "10.64.0.3"
    static let headquarters = "10.64.0.1"
    /// Behind the headquarters.
    static let model = "10.9.0.5"
    /// Behind the headquarters, and of no service.
    static let printer = "10.9.7.7"
    static let plant6 = "fd00:64::2"
    static let model6 = "fd00:9::5"

    static let members = [
        member("10.64.0.1/32", "hq"), member("10.9.0.0/16", "hq"),
        member("10.64.0.2/32", "plants"), member("10.64.0.3/32", "offices"),
        member("fd00:64::2/128", "plants"), member("fd00:9::/32", "hq"),
    ]
    static let services = [
        AccessRules.Service(
            name: "models",
            destinations: [IPPrefix("10.9.0.0/24")!, IPPrefix("fd00:9::/64")!])
    ]
    static let rules = [
        rule("ask", ["plants"], ["models"], .tcp, [443...443, 8_000...8_100]),
        rule("names", ["plants", "offices"], ["hq"], .udp, [53...53]),
        rule("ping", ["plants"], ["hq"], .icmp, []),
        rule("tunnels", ["offices"], ["hq"], nil, []),
    ]
    static let standard = AccessRules(members: members, services: services, rules: rules)

    static func member(_ prefix: String, _ groups: String...) -> AccessRules.Member {
        AccessRules.Member(prefix: IPPrefix(prefix)!, groups: Set(groups))
    }

    static func rule(
        _ name: String, _ from: [String], _ to: [String], _ transport: AccessRules.Transport?,
        _ ports: [ClosedRange<UInt16>]
    ) -> AccessRules.Rule {
        AccessRules.Rule(name: name, from: from, to: to, transport: transport, ports: ports)
    }

    var filter: AccessFilter
    /// Nanoseconds.
    var now: UInt64

    static let second: UInt64 = 1_000_000_000

    /// - Parameter mayPickUp: Whether the table is young.
    init(_ rules: AccessRules = Net.standard, capacity: Int = 1_024, mayPickUp: Bool = false) {
        filter = AccessFilter(
            rules, state: AccessState(capacity: capacity, key: (1, 2), now: Self.second))
        now = mayPickUp ? 2 * Self.second : 10_000 * Self.second
    }

    func judge(_ bytes: [UInt8]) -> AccessVerdict {
        ByteArena.withCopy(of: bytes) { region in
            guard let packet = IPPacket(region) else { return .denied(rule: -99) }
            return filter.judge(packet, now: now)
        }
    }

    func passes(_ bytes: [UInt8]) -> Bool { judge(bytes) == .allowed }

    func change(_ rules: [AccessRules.Rule]) -> Net {
        var changed = self
        var all = filter.rules
        all.rules = rules
        changed.filter = AccessFilter(all, continuing: filter)
        return changed
    }

    func after(seconds: UInt64) -> Net {
        var later = self
        later.now += seconds * Self.second
        return later
    }
}

/// Packets by text addresses.
enum Packets {
    static let syn: UInt8 = 0x02
    static let synAck: UInt8 = 0x12
    static let ack: UInt8 = 0x10
    static let rst: UInt8 = 0x14
    static let fin: UInt8 = 0x11

    static func address(_ text: String) -> [UInt8] {
        let address = IPAddress(text)!
        let words = address.isIPv4 ? [address.low << 32] : [address.high, address.low]
        let bytes = words.flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
        }
        return address.isIPv4 ? Array(bytes.prefix(4)) : bytes
    }

    static func builder(
        _ base: PacketBuilder, _ from: String, _ to: String, _ sourcePort: UInt16,
        _ destinationPort: UInt16
    ) -> PacketBuilder {
        base.with {
            $0.isIPv4 = IPAddress(from)!.isIPv4
            $0.source = address(from)
            $0.destination = address(to)
            $0.sourcePort = sourcePort
            $0.destinationPort = destinationPort
        }
    }

    static func tcp(
        _ from: String, _ to: String, _ sourcePort: UInt16, _ destinationPort: UInt16,
        _ flags: UInt8 = syn
    ) -> [UInt8] {
        builder(.tcp4, from, to, sourcePort, destinationPort).with { $0.flags = flags }.bytes
    }

    static func udp(
        _ from: String, _ to: String, _ sourcePort: UInt16, _ destinationPort: UInt16
    ) -> [UInt8] {
        builder(.udp4, from, to, sourcePort, destinationPort).with { $0.payload = [1, 2, 3] }.bytes
    }

    /// - Parameter rest: What follows type, code and checksum.
    static func icmp(_ from: String, _ to: String, type: UInt8, code: UInt8 = 0, rest: [UInt8])
        -> [UInt8]
    {
        let isIPv4 = IPAddress(from)!.isIPv4
        var packet = builder(.udp4, from, to, 0, 0).with {
            $0.payload = Array(rest.dropFirst(4))
        }.bytes
        let start = isIPv4 ? 20 : 40
        packet[isIPv4 ? 9 : 6] = isIPv4 ? 1 : 58
        packet.replaceSubrange(start..<start + 4, with: [type, code, 0, 0])
        packet.replaceSubrange(start + 4..<start + 8, with: rest.prefix(4))
        return packet
    }

    static func echo(_ from: String, _ to: String, _ number: UInt8, isAnswer: Bool = false)
        -> [UInt8]
    {
        let types: (UInt8, UInt8) = IPAddress(from)!.isIPv4 ? (8, 0) : (128, 129)
        return icmp(
            from, to, type: isAnswer ? types.1 : types.0, rest: [0, number, 0, 1, 9, 9, 9, 9])
    }

    /// An error from `from` about `packet`, to whoever sent that.
    static func error(_ from: String, about packet: [UInt8], type: UInt8? = nil, quoted: Int = 64)
        -> [UInt8]
    {
        let isIPv4 = IPAddress(from)!.isIPv4
        var error = icmp(
            from, from, type: type ?? (isIPv4 ? 3 : 1),
            rest: [0, 0, 0, 0] + packet.prefix(quoted))
        let (source, destination) = isIPv4 ? (12, 16) : (8, 24)
        let count = isIPv4 ? 4 : 16
        error.replaceSubrange(
            destination..<destination + count, with: packet[source..<source + count])
        return error
    }
}
