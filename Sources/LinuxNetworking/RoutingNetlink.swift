import CNetlink
import Glibc
public import PacketFormats
import SystemPackage

/// Links, addresses, routes and rules of the network namespace that it was opened in.
///
/// Every call waits for the kernel's answer, which it gives at once. One thread uses an instance.
///
/// Source: rtnetlink(7).
@safe
public final class RoutingNetlink {
    let socket: NetlinkSocket

    public init() throws(NetlinkError) {
        socket = try NetlinkSocket()
    }

    /// Opens it in another namespace, which it keeps alive: let go of it soon.
    /// - Throws: ``NamespaceError``, ``NetlinkError``.
    public convenience init(in namespace: NetworkNamespace) throws {
        let opened = try namespace.perform { try NetlinkSocket() }
        self.init(opened)
    }

    private init(_ socket: NetlinkSocket) {
        self.socket = socket
    }

    /// The main routing table.
    public static let mainTable: UInt32 = 254
}

/// An address of an interface, with the length of the network it is in.
public struct InterfaceAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: IPAddress
    /// 0...32 or 0...128.
    public var prefixLength: Int

    public init(_ address: IPAddress, prefixLength: Int) {
        self.address = address
        self.prefixLength = prefixLength
    }

    public var description: String { "\(address)/\(prefixLength)" }
}

/// One route.
public struct Route: Hashable, Sendable {
    public var destination: IPPrefix
    /// Index of the outgoing interface, `nil` for routes without (unreachable, several hops).
    public var device: UInt32?
    public var gateway: IPAddress?
    public var table: UInt32
    /// The lower, the more preferred.
    public var metric: UInt32?
}

/// One rule that chooses a routing table, for one address family.
public struct RoutingRule: Hashable, Sendable {
    public enum Family: Hashable, Sendable, CaseIterable { case ipv4, ipv6 }

    public var family: Family
    /// Table to look in when the rule matches.
    public var table: UInt32
    /// Matches packets of this mark, or with `isInverted` all others; `nil` matches all.
    public var firewallMark: UInt32?
    public var isInverted: Bool
    /// Matches packets that came by the interface of this name; `nil` matches all.
    public var inputInterface: String?
    /// Matches packets of sockets that are bound to the interface of this name; `nil` matches all.
    public var outputInterface: String?
    /// Matches packets from these addresses; `nil` matches all.
    public var source: IPPrefix?
    /// Routes of the table with a prefix this long or shorter are ignored; `nil` takes all.
    public var suppressPrefixLength: UInt32?
    /// The lower, the earlier; `nil` leaves the choice to the kernel.
    public var priority: UInt32?

    public init(
        family: Family, table: UInt32, firewallMark: UInt32? = nil, isInverted: Bool = false,
        inputInterface: String? = nil, outputInterface: String? = nil, source: IPPrefix? = nil,
        suppressPrefixLength: UInt32? = nil, priority: UInt32? = nil
    ) {
        self.family = family
        self.table = table
        self.firewallMark = firewallMark
        self.isInverted = isInverted
        self.inputInterface = inputInterface
        self.outputInterface = outputInterface
        self.source = source
        self.suppressPrefixLength = suppressPrefixLength
        self.priority = priority
    }
}

// MARK: - Addresses

extension RoutingNetlink {
    /// Gives an interface an address; one that it has already is no error.
    ///
    /// IPv6 does without duplicate address detection: a tunnel has nobody to ask. RTM_NEWADDR
    /// - Parameter routesNetwork: Whether the main table (of a VRF's port, the VRF's) routes the
    ///   address's network to the interface.
    public func addAddress(
        _ address: InterfaceAddress, device: UInt32, routesNetwork: Bool = true
    ) throws(NetlinkError) {
        let message = addressMessage(
            RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address, device,
            flags: routesNetwork ? 0 : UInt32(IFA_F_NOPREFIXROUTE))
        try socket.acknowledge(message, "add address \(address) to interface \(device)")
    }

    /// RTM_DELADDR
    public func removeAddress(
        _ address: InterfaceAddress, device: UInt32
    ) throws(NetlinkError) {
        let message = addressMessage(RTM_DELADDR, 0, address, device)
        try socket.acknowledge(message, "remove address \(address) from interface \(device)")
    }

    /// The addresses of one interface, of both families. RTM_GETADDR
    public func addresses(of device: UInt32) throws(NetlinkError) -> [InterfaceAddress] {
        let message = NetlinkMessage(type: RTM_GETADDR, flags: NLM_F_DUMP)
        message.put(header: ifaddrmsg())
        return try unsafe socket.request(message, "list addresses") { part in
            unsafe Self.address(part, of: device)
        }
    }

    private func addressMessage(
        _ type: Int, _ messageFlags: Int32, _ address: InterfaceAddress, _ device: UInt32,
        flags: UInt32 = 0
    ) -> NetlinkMessage {
        let message = NetlinkMessage(type: type, flags: messageFlags)
        var header = ifaddrmsg()
        header.ifa_family = address.address.netlinkFamily
        header.ifa_prefixlen = UInt8(clamping: address.prefixLength)
        header.ifa_index = device
        message.put(header: header)
        message.put(IFA_LOCAL, address.address)
        message.put(IFA_ADDRESS, address.address)
        if type == RTM_NEWADDR {
            message.put(IFA_FLAGS, flags | (address.address.isIPv4 ? 0 : UInt32(IFA_F_NODAD)))
        }
        return message
    }

    private static func address(
        _ message: UnsafePointer<nlmsghdr>, of device: UInt32
    ) -> InterfaceAddress? {
        guard let header: ifaddrmsg = unsafe NetlinkHeader.read(message, RTM_NEWADDR),
            header.ifa_index == device
        else { return nil }
        let attributes = unsafe NetlinkAttributes(message, offset: MemoryLayout<ifaddrmsg>.size)
        // On a point-to-point interface IFA_ADDRESS is the other side's.
        guard let address = attributes.address(IFA_LOCAL) ?? attributes.address(IFA_ADDRESS)
        else { return nil }
        return InterfaceAddress(address, prefixLength: Int(header.ifa_prefixlen))
    }
}

// MARK: - Routes

extension RoutingNetlink {
    /// Routes `destination` to an interface.
    ///
    /// - Throws: EEXIST for a route that exists, unless `isReplacing`. RTM_NEWROUTE
    public func addRoute(
        _ destination: IPPrefix, device: UInt32, table: UInt32 = mainTable,
        metric: UInt32? = nil, isReplacing: Bool = false
    ) throws(NetlinkError) {
        let message = routeMessage(
            RTM_NEWROUTE, NLM_F_CREATE | (isReplacing ? NLM_F_REPLACE : NLM_F_EXCL),
            destination, device, table, metric)
        try socket.acknowledge(
            message, "add route \(destination) to interface \(device) in table \(table)")
    }

    /// Refuses what no other route of a table takes, so that no further table is looked in.
    ///
    /// - Throws: EEXIST where it is refused already. RTM_NEWROUTE
    public func addLastRefusal(
        _ family: RoutingRule.Family, table: UInt32
    ) throws(NetlinkError) {
        let message = Self.refusalMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, family, table)
        try socket.acknowledge(message, "refuse what table \(table) does not route")
    }

    /// RTM_DELROUTE
    public func removeLastRefusal(
        _ family: RoutingRule.Family, table: UInt32
    ) throws(NetlinkError) {
        let message = Self.refusalMessage(RTM_DELROUTE, 0, family, table)
        try socket.acknowledge(message, "no longer refuse what table \(table) does not route")
    }

    private static func refusalMessage(
        _ type: Int, _ flags: Int32, _ family: RoutingRule.Family, _ table: UInt32
    ) -> NetlinkMessage {
        let message = NetlinkMessage(type: type, flags: flags)
        var header = rtmsg()
        header.rtm_family = family.number
        header.rtm_table = table < 256 ? UInt8(table) : UInt8(RT_TABLE_UNSPEC.rawValue)
        header.rtm_protocol = UInt8(RTPROT_BOOT)
        header.rtm_scope = UInt8(RT_SCOPE_UNIVERSE.rawValue)
        header.rtm_type = UInt8(RTN_UNREACHABLE)
        message.put(header: header)
        message.put(Int(RTA_TABLE.rawValue), table)
        message.put(Int(RTA_PRIORITY.rawValue), lastMetric)
        return message
    }

    /// Behind whatever else is there; Linux's documentation of VRF has the same.
    private static let lastMetric: UInt32 = 4_278_198_272

    /// RTM_DELROUTE
    public func removeRoute(
        _ destination: IPPrefix, device: UInt32, table: UInt32 = mainTable,
        metric: UInt32? = nil
    ) throws(NetlinkError) {
        let message = routeMessage(RTM_DELROUTE, 0, destination, device, table, metric)
        try socket.acknowledge(
            message, "remove route \(destination) to interface \(device) from table \(table)")
    }

    /// The unicast routes of one table, of both families. RTM_GETROUTE
    public func routes(table: UInt32 = mainTable) throws(NetlinkError) -> [Route] {
        let message = NetlinkMessage(type: RTM_GETROUTE, flags: NLM_F_DUMP)
        message.put(header: rtmsg())
        return try unsafe socket.request(message, "list routes") { part in
            unsafe Self.route(part, table: table)
        }
    }

    private func routeMessage(
        _ type: Int, _ flags: Int32, _ destination: IPPrefix, _ device: UInt32, _ table: UInt32,
        _ metric: UInt32?
    ) -> NetlinkMessage {
        let message = NetlinkMessage(type: type, flags: flags)
        var header = rtmsg()
        header.rtm_family = destination.address.netlinkFamily
        header.rtm_dst_len = UInt8(clamping: destination.length)
        header.rtm_table = table < 256 ? UInt8(table) : UInt8(RT_TABLE_UNSPEC.rawValue)
        // As iproute2 has it: boot when the protocol is the administrator's, link scope since
        // there is no gateway; RT_SCOPE_NOWHERE and no protocol match any on removal.
        let isRemoval = type == RTM_DELROUTE
        header.rtm_protocol = isRemoval ? 0 : UInt8(RTPROT_BOOT)
        header.rtm_scope = UInt8(
            isRemoval ? RT_SCOPE_NOWHERE.rawValue : RT_SCOPE_LINK.rawValue)
        header.rtm_type = isRemoval ? 0 : UInt8(RTN_UNICAST)
        message.put(header: header)
        if destination.length > 0 { message.put(Int(RTA_DST.rawValue), destination.address) }
        message.put(Int(RTA_OIF.rawValue), device)
        message.put(Int(RTA_TABLE.rawValue), table)
        if let metric { message.put(Int(RTA_PRIORITY.rawValue), metric) }
        return message
    }

    private static func route(
        _ message: UnsafePointer<nlmsghdr>, table wanted: UInt32
    ) -> Route? {
        guard let header: rtmsg = unsafe NetlinkHeader.read(message, RTM_NEWROUTE),
            Int32(header.rtm_type) == Int32(RTN_UNICAST),
            Int32(header.rtm_flags) & Int32(RTM_F_CLONED) == 0
        else { return nil }
        let attributes = unsafe NetlinkAttributes(message, offset: MemoryLayout<rtmsg>.size)
        let table = attributes.uint32(Int(RTA_TABLE.rawValue)) ?? UInt32(header.rtm_table)
        let unspecified: IPAddress
        switch Int32(header.rtm_family) {
        case AF_INET: unspecified = IPAddress(ipv4: 0)
        case AF_INET6: unspecified = IPAddress(high: 0, low: 0)
        default: return nil
        }
        let address = attributes.address(Int(RTA_DST.rawValue)) ?? unspecified
        guard table == wanted,
            let destination = IPPrefix(address, length: Int(header.rtm_dst_len))
        else { return nil }
        return Route(
            destination: destination, device: attributes.uint32(Int(RTA_OIF.rawValue)),
            gateway: attributes.address(Int(RTA_GATEWAY.rawValue)), table: table,
            metric: attributes.uint32(Int(RTA_PRIORITY.rawValue)))
    }
}
