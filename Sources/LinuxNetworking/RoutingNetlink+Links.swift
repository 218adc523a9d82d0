import CNetlink
import Glibc
import SystemPackage

/// State of a network interface.
public struct LinkState: Hashable, Sendable {
    public var index: UInt32
    public var name: String
    /// Largest packet, in bytes.
    public var mtu: Int
    /// Whether the administrator has switched it on.
    public var isUp: Bool
    /// Packets that may wait to be sent.
    public var transmitQueueLength: Int
    /// Index of the interface that it is a port of.
    public var master: UInt32?
    /// The routing table of a VRF device.
    public var vrfTable: UInt32?
}

extension RoutingNetlink {
    /// - Throws: ENODEV when there is no interface of that name. RTM_GETLINK
    public func linkByName(_ name: String) throws(NetlinkError) -> LinkState {
        let operation = "find network interface \(name)"
        let message = NetlinkMessage(type: RTM_GETLINK, flags: 0)
        message.put(header: ifinfomsg())
        message.put(Int(IFLA_IFNAME), name)
        do {
            if let link = try links(message, operation).first { return link }
        } catch {
            // ERANGE: longer than any name can be.
            let isMissing =
                error.errno == .operationNotSupportedByDevice || error.errno == .outOfRange
            guard isMissing else { throw error }
        }
        throw NetlinkError(
            operation: operation, errno: .operationNotSupportedByDevice,
            explanation: "there is no network interface named \(name)")
    }

    /// - Throws: ENODEV when there is no such interface. RTM_GETLINK
    public func link(_ index: UInt32) throws(NetlinkError) -> LinkState {
        let operation = "find network interface \(index)"
        let message = NetlinkMessage(type: RTM_GETLINK, flags: 0)
        var header = ifinfomsg()
        header.ifi_index = Int32(bitPattern: index)
        message.put(header: header)
        if let link = try links(message, operation).first { return link }
        throw NetlinkError(operation: operation, errno: .operationNotSupportedByDevice)
    }

    /// Changes what is given and leaves the rest. RTM_NEWLINK
    ///
    /// - Parameters:
    ///   - up: Whether the interface is switched on.
    ///   - mtu: In bytes.
    ///   - transmitQueueLength: In packets.
    public func setLink(
        _ index: UInt32, up: Bool? = nil, mtu: Int? = nil, transmitQueueLength: Int? = nil
    ) throws(NetlinkError) {
        let message = NetlinkMessage(type: RTM_NEWLINK, flags: 0)
        var header = ifinfomsg()
        header.ifi_index = Int32(bitPattern: index)
        if let up {
            header.ifi_change = UInt32(IFF_UP)
            header.ifi_flags = up ? UInt32(IFF_UP) : 0
        }
        message.put(header: header)
        var changes: [String] = []
        if let up { changes.append(up ? "up" : "down") }
        if let mtu {
            message.put(Int(IFLA_MTU), UInt32(clamping: mtu))
            changes.append("MTU \(mtu)")
        }
        if let transmitQueueLength {
            message.put(Int(IFLA_TXQLEN), UInt32(clamping: transmitQueueLength))
            changes.append("transmit queue length \(transmitQueueLength)")
        }
        try socket.acknowledge(
            message, "set interface \(index) to \(changes.joined(separator: ", "))")
    }

    /// Moves an interface to another network namespace, where it is down and without addresses.
    ///
    /// Its index may be another there.
    /// - Parameter name: What it is called there.
    /// - Throws: EEXIST when the name is taken there. RTM_NEWLINK
    func moveLink(
        _ index: UInt32, to namespace: OwnedDescriptor, name: String
    ) throws(NetlinkError) {
        let message = NetlinkMessage(type: RTM_NEWLINK, flags: 0)
        var header = ifinfomsg()
        header.ifi_index = Int32(bitPattern: index)
        message.put(header: header)
        message.put(Int(IFLA_NET_NS_FD), UInt32(bitPattern: namespace.rawValue))
        message.put(Int(IFLA_IFNAME), name)
        try socket.acknowledge(message, "move interface \(index) to another namespace as \(name)")
    }

    /// Makes an interface a port of another (a VRF, a bridge); `nil` takes it out.
    /// - Throws: EINVAL when the other takes no such ports. RTM_NEWLINK
    public func setMaster(_ index: UInt32, to master: UInt32?) throws(NetlinkError) {
        let message = NetlinkMessage(type: RTM_NEWLINK, flags: 0)
        var header = ifinfomsg()
        header.ifi_index = Int32(bitPattern: index)
        message.put(header: header)
        message.put(Int(IFLA_MASTER), master ?? 0)
        try socket.acknowledge(
            message,
            master.map { "make interface \(index) a port of interface \($0)" }
                ?? "make interface \(index) a port of no other")
    }

    /// Deletes an interface. RTM_DELLINK
    public func removeLink(_ index: UInt32) throws(NetlinkError) {
        let message = NetlinkMessage(type: RTM_DELLINK, flags: 0)
        var header = ifinfomsg()
        header.ifi_index = Int32(bitPattern: index)
        message.put(header: header)
        try socket.acknowledge(message, "delete interface \(index)")
    }

    private func links(
        _ message: NetlinkMessage, _ operation: String
    ) throws(NetlinkError) -> [LinkState] {
        try unsafe socket.request(message, operation) { part in
            unsafe LinkState(part, type: RTM_NEWLINK)
        }
    }
}

extension LinkState {
    /// - Parameter type: RTM_NEWLINK or RTM_DELLINK; other messages give `nil`.
    init?(_ message: UnsafePointer<nlmsghdr>, type: Int) {
        guard let header: ifinfomsg = unsafe NetlinkHeader.read(message, type) else { return nil }
        let attributes = unsafe NetlinkAttributes(message, offset: MemoryLayout<ifinfomsg>.size)
        index = UInt32(bitPattern: header.ifi_index)
        name = attributes.string(Int(IFLA_IFNAME)) ?? ""
        mtu = Int(attributes.uint32(Int(IFLA_MTU)) ?? 0)
        isUp = header.ifi_flags & UInt32(IFF_UP) != 0
        transmitQueueLength = Int(attributes.uint32(Int(IFLA_TXQLEN)) ?? 0)
        master = attributes.uint32(Int(IFLA_MASTER))
        let information = attributes.nested(Int(IFLA_LINKINFO))
        if information?.string(Int(IFLA_INFO_KIND)) == "vrf" {
            vrfTable = information?.nested(Int(IFLA_INFO_DATA))?.uint32(Int(IFLA_VRF_TABLE))
        }
    }
}
