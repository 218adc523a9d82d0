import PacketFormats
import SystemPackage

/// Where a tunnel's interface is, and which routing table leads to it.
///
/// Only a namespace keeps its owner's packets from everything else by itself. With a table or a VRF
/// device the interface shares this namespace's local addresses and packet filter.
public enum InterfacePlace: Hashable, Sendable {
    /// The process's own namespace, with the routes in the main table.
    case host
    case namespace(NetworkNamespace)
    /// The process's own namespace; what comes by the interface looks in this table only.
    case table(UInt32)
    /// A port of the VRF device of this name, with the routes in the device's table.
    case vrf(String)

    /// Whether the tunnel's own datagrams cannot take a default route through the interface.
    public var takesDefaultRoute: Bool { self != .host }

    /// Says what is wrong with a table of one's own; `nil` where nothing is.
    public static func fault(inTable table: UInt32) -> String? {
        switch table {
        case 0: "table 0 stands for no table"
        case 253...255: "table \(table) is one of the system's own (default, main, local)"
        default: nil
        }
    }

    /// Opens what changes addresses, routes and links there; let go of it soon.
    /// - Throws: ``NamespaceError``, ``NetlinkError``.
    public func openNetlink() throws -> RoutingNetlink {
        if case .namespace(let namespace) = self { return try RoutingNetlink(in: namespace) }
        return try RoutingNetlink()
    }

    /// The table that routes to the interface belong in.
    /// - Throws: ENODEV when the VRF device is missing, EINVAL when it is of another kind.
    public func table(_ netlink: RoutingNetlink) throws(NetlinkError) -> UInt32 {
        switch self {
        case .host, .namespace: return RoutingNetlink.mainTable
        case .table(let table): return table
        case .vrf(let name):
            if let table = try netlink.linkByName(name).vrfTable { return table }
            throw NetlinkError(
                operation: "find the table of \(name)", errno: .invalidArgument,
                explanation: "\(name) is no VRF device")
        }
    }

    /// Makes the interface one of its place; to be done before it gets addresses. What is done
    /// already is no error.
    public func attach(
        _ interface: String, _ netlink: RoutingNetlink
    ) throws(NetlinkError) {
        switch self {
        case .host, .namespace: break
        case .table(let table):
            for family in RoutingRule.Family.allCases {
                try Self.unless(.fileExists) { () throws(NetlinkError) in
                    try netlink.addLastRefusal(family, table: table)
                }
                for rule in Self.rules(interface, family, table) {
                    try Self.unless(.fileExists) { () throws(NetlinkError) in
                        try netlink.addRule(rule)
                    }
                }
            }
        case .vrf(let name):
            _ = try self.table(netlink)
            let master = try netlink.linkByName(name).index
            let link = try netlink.linkByName(interface)
            if link.master != master { try netlink.setMaster(link.index, to: master) }
        }
    }

    /// Undoes what outlives the interface. What is not there is no error.
    public func detach(
        _ interface: String, _ netlink: RoutingNetlink
    ) throws(NetlinkError) {
        guard case .table(let table) = self else { return }
        for family in RoutingRule.Family.allCases {
            for rule in Self.rules(interface, family, table) {
                try Self.unless(.noSuchFileOrDirectory) { () throws(NetlinkError) in
                    try netlink.removeRule(rule)
                }
            }
            try Self.unless(.noSuchProcess) { () throws(NetlinkError) in
                try netlink.removeLastRefusal(family, table: table)
            }
        }
    }

    private static func rules(
        _ interface: String, _ family: RoutingRule.Family, _ table: UInt32
    ) -> [RoutingRule] {
        [
            RoutingRule(
                family: family, table: table, inputInterface: interface, priority: rulePriority),
            RoutingRule(
                family: family, table: table, outputInterface: interface, priority: rulePriority),
        ]
    }

    private static func unless(
        _ harmless: Errno, _ body: () throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        do {
            try body()
        } catch where error.errno == harmless {
        }
    }

    /// After those of VRF devices (1000), before the main table (32766).
    private static let rulePriority: UInt32 = 2_000
}
