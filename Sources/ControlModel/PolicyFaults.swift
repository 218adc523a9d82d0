import PacketFormats

/// Faults of a policy, at most a hundred.
struct PolicyFaults {
    private(set) var texts: [String] = []

    mutating func add(_ what: String, _ text: String) {
        if texts.count < Self.textsMax { texts.append("\(what): \(text)") }
    }

    mutating func checkName(_ name: String, _ what: String) {
        let isPlain = name.unicodeScalars.allSatisfy { !$0.properties.isControl }
        guard (1...PolicyLimits.nameBytesMax).contains(name.utf8.count), isPlain else {
            return add(what, "a name is 1 to \(PolicyLimits.nameBytesMax) bytes without controls")
        }
    }

    mutating func checkGroups(
        _ names: [String], _ groups: Set<String>, _ what: String, _ kind: String = "group"
    ) {
        guard (1...PolicyLimits.groupsMax).contains(names.count) else {
            return add(what, "1 to \(PolicyLimits.groupsMax) groups, or * for every node")
        }
        for name in names where name != AccessPolicy.Rule.anything && !groups.contains(name) {
            add(what, "there is no \(kind) \(Refusal.excerpt(of: name))")
        }
    }

    /// - Parameter taken: Names of groups and of the services before this one.
    mutating func checkService(
        _ service: AccessPolicy.Service, _ taken: Set<String>, _ what: String
    ) {
        if Name(service.name) == nil {
            add(what, "its name is 1 to 63 lower-case letters, digits and hyphens")
        }
        if taken.contains(service.name) {
            add(what, "\(Refusal.excerpt(of: service.name)) is a group or another service")
        }
        guard (1...PolicyLimits.destinationsMax).contains(service.destinations.count) else {
            return add(what, "1 to \(PolicyLimits.destinationsMax) destinations")
        }
        for text in service.destinations where IPPrefix(text) == nil {
            add(what, "\(Refusal.excerpt(of: text)) is no network such as 10.0.0.0/8")
        }
    }

    mutating func checkTransport(_ transport: String, _ ports: [String], _ what: String) {
        switch transport {
        case "tcp", "udp": break
        case "icmp", AccessPolicy.Rule.anything:
            if !ports.isEmpty { add(what, "only tcp and udp have ports") }
        default: add(what, "the transport is tcp, udp, icmp or *")
        }
        guard ports.count <= PolicyLimits.portsMax else {
            return add(what, "at most \(PolicyLimits.portsMax) port ranges")
        }
        for text in ports where PortRanges.range(text) == nil {
            add(what, "\(Refusal.excerpt(of: text)) is no port such as 443 or 8000-8100")
        }
    }

    @discardableResult
    mutating func checkClass(_ name: String, _ what: String) -> ClassCeiling? {
        let found = ClassCeiling(rawValue: name)
        if name == TrafficClass.control.name {
            add(what, "control is the tunnel's own traffic, and no policy gives it")
        } else if found == nil {
            add(what, "there is no traffic class \(Refusal.excerpt(of: name))")
        }
        return found
    }

    mutating func checkDSCP(_ name: String, _ what: String) -> DSCP? {
        let found = DSCP(name: name)
        if found == nil {
            add(what, "\(Refusal.excerpt(of: name)) is no DSCP such as AF21, or 0 to 63")
        }
        return found
    }

    private static let textsMax = 100
}

extension Unicode.Scalar.Properties {
    fileprivate var isControl: Bool { generalCategory == .control }
}
