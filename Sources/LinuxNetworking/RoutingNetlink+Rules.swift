import CNetlink
import Glibc
import PacketFormats
import SystemPackage

extension RoutingNetlink {
    /// - Throws: EEXIST for a rule that exists. RTM_NEWRULE
    public func addRule(_ rule: RoutingRule) throws(NetlinkError) {
        try socket.acknowledge(
            ruleMessage(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule), "add rule \(rule)")
    }

    /// Removes one rule that has everything that is given.
    /// - Throws: ENOENT when there is none. RTM_DELRULE
    public func removeRule(_ rule: RoutingRule) throws(NetlinkError) {
        try socket.acknowledge(ruleMessage(RTM_DELRULE, 0, rule), "remove rule \(rule)")
    }

    /// The rules of one family that choose a table, in their order. RTM_GETRULE
    public func rules(_ family: RoutingRule.Family) throws(NetlinkError) -> [RoutingRule] {
        let message = NetlinkMessage(type: RTM_GETRULE, flags: NLM_F_DUMP)
        var header = fib_rule_hdr()
        header.family = family.number
        message.put(header: header)
        return try unsafe socket.request(message, "list rules") { part in
            unsafe Self.rule(part, family)
        }
    }

    private func ruleMessage(
        _ type: Int, _ flags: Int32, _ rule: RoutingRule
    ) -> NetlinkMessage {
        let message = NetlinkMessage(type: type, flags: flags)
        var header = fib_rule_hdr()
        header.family = rule.family.number
        header.table = rule.table < 256 ? UInt8(rule.table) : UInt8(RT_TABLE_UNSPEC.rawValue)
        header.action = UInt8(FR_ACT_TO_TBL)
        if rule.isInverted { header.flags = UInt32(FIB_RULE_INVERT) }
        if let source = rule.source { header.src_len = UInt8(clamping: source.length) }
        message.put(header: header)
        if let source = rule.source { message.put(FRA_SRC, source.address) }
        if let name = rule.inputInterface { message.put(FRA_IIFNAME, name) }
        if let name = rule.outputInterface { message.put(FRA_OIFNAME, name) }
        message.put(FRA_TABLE, rule.table)
        if let mark = rule.firewallMark { message.put(FRA_FWMARK, mark) }
        if let length = rule.suppressPrefixLength { message.put(FRA_SUPPRESS_PREFIXLEN, length) }
        if let priority = rule.priority { message.put(FRA_PRIORITY, priority) }
        return message
    }

    private static func rule(
        _ message: UnsafePointer<nlmsghdr>, _ family: RoutingRule.Family
    ) -> RoutingRule? {
        guard let header: fib_rule_hdr = unsafe NetlinkHeader.read(message, RTM_NEWRULE),
            header.family == family.number, Int(header.action) == FR_ACT_TO_TBL
        else { return nil }
        let attributes = unsafe NetlinkAttributes(message, offset: MemoryLayout<fib_rule_hdr>.size)
        let suppressed = attributes.uint32(FRA_SUPPRESS_PREFIXLEN)
        return RoutingRule(
            family: family, table: attributes.uint32(FRA_TABLE) ?? UInt32(header.table),
            firewallMark: attributes.uint32(FRA_FWMARK),
            isInverted: Int32(bitPattern: header.flags) & FIB_RULE_INVERT != 0,
            inputInterface: attributes.string(FRA_IIFNAME),
            outputInterface: attributes.string(FRA_OIFNAME),
            source: attributes.address(FRA_SRC).flatMap {
                IPPrefix($0, length: Int(header.src_len))
            },
            // The kernel says "none" by -1.
            suppressPrefixLength: suppressed == .max ? nil : suppressed,
            priority: attributes.uint32(FRA_PRIORITY))
    }
}

extension RoutingRule.Family {
    /// AF_INET or AF_INET6.
    var number: UInt8 {
        switch self {
        case .ipv4: return UInt8(AF_INET)
        case .ipv6: return UInt8(AF_INET6)
        }
    }
}

extension RoutingRule: CustomStringConvertible {
    /// As `ip rule` writes it.
    public var description: String {
        var words = family == .ipv4 ? "IPv4" : "IPv6"
        if let priority { words += " priority \(priority)" }
        if isInverted { words += " not" }
        if let source { words += " from \(source)" }
        if let inputInterface { words += " iif \(inputInterface)" }
        if let outputInterface { words += " oif \(outputInterface)" }
        if let firewallMark { words += " fwmark 0x\(String(firewallMark, radix: 16))" }
        words += " table \(table)"
        if let suppressPrefixLength { words += " suppress_prefixlength \(suppressPrefixLength)" }
        return words
    }
}
