import AccessControl
import PacketFormats
import WireGuardProtocol

/// Access rules as another process goes on with them: without, everything would pass until its
/// agent has said what may.
extension SnapshotWriter {
    mutating func write(_ rules: AccessRules) {
        write(count: rules.members.count)
        for member in rules.members {
            write(member.prefix)
            write(texts: member.groups.sorted())
        }
        write(count: rules.services.count)
        for service in rules.services {
            write(service.name)
            write(count: service.destinations.count)
            for prefix in service.destinations { write(prefix) }
        }
        write(count: rules.rules.count)
        for rule in rules.rules {
            write(rule.name)
            write(texts: rule.from)
            write(texts: rule.to)
            write(rule.transport) { $0.write($1.number) }
            write(count: rule.ports.count)
            for range in rule.ports {
                write(range.lowerBound)
                write(range.upperBound)
            }
        }
    }

    mutating func write(_ prefix: IPPrefix) {
        write(prefix.address)
        write(UInt8(prefix.length))
    }

    private mutating func write(texts: [String]) {
        write(count: texts.count)
        for text in texts { write(text) }
    }
}

extension SnapshotReader {
    mutating func accessRules() throws(SnapshotError) -> AccessRules {
        var rules = AccessRules(members: [], services: [], rules: [])
        for _ in 0..<(try count(max: .max, byteCountMin: 22, of: "members")) {
            rules.members.append(
                AccessRules.Member(prefix: try prefix(), groups: Set(try texts())))
        }
        for _ in 0..<(try count(max: .max, byteCountMin: 8, of: "services")) {
            var service = AccessRules.Service(name: try longText(), destinations: [])
            for _ in 0..<(try count(max: .max, byteCountMin: 18, of: "destinations")) {
                service.destinations.append(try prefix())
            }
            rules.services.append(service)
        }
        for _ in 0..<(try count(max: .max, byteCountMin: 17, of: "rules")) {
            rules.rules.append(try accessRule())
        }
        return rules
    }

    private mutating func accessRule() throws(SnapshotError) -> AccessRules.Rule {
        var rule = AccessRules.Rule(
            name: try longText(), from: try texts(), to: try texts(), transport: nil, ports: [])
        rule.transport = try optional { reader throws(SnapshotError) in
            guard let transport = AccessRules.Transport(number: try reader.uint8()) else {
                throw .invalid("a transport")
            }
            return transport
        }
        for _ in 0..<(try count(max: 65_536, byteCountMin: 4, of: "ports")) {
            let (first, last) = (try uint16(), try uint16())
            guard first <= last else { throw .invalid("ports") }
            rule.ports.append(first...last)
        }
        return rule
    }

    mutating func prefix() throws(SnapshotError) -> IPPrefix {
        let (address, length) = (try address(), Int(try uint8()))
        guard let prefix = IPPrefix(address, length: length) else { throw .invalid("a network") }
        return prefix
    }

    private mutating func texts() throws(SnapshotError) -> [String] {
        var texts: [String] = []
        for _ in 0..<(try count(max: .max, byteCountMin: 4, of: "names")) {
            texts.append(try longText())
        }
        return texts
    }

    private mutating func longText() throws(SnapshotError) -> String {
        try text(byteCountMax: 65_536)
    }
}

extension AccessRules.Transport {
    fileprivate var number: UInt8 {
        switch self {
        case .other: 0
        case .tcp: 1
        case .udp: 2
        case .icmp: 3
        }
    }

    fileprivate init?(number: UInt8) {
        switch number {
        case 0: self = .other
        case 1: self = .tcp
        case 2: self = .udp
        case 3: self = .icmp
        default: return nil
        }
    }
}
