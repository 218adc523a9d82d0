import Foundation
import LinuxNetworking
import PacketFormats
import WireGuardConfiguration

/// Default routes through an interface, without catching the interface's own datagrams.
///
/// A table of its own holds the default route. One rule sends every packet there that does not bear
/// the interface's firewall mark; before it another lets the main table's more specific routes win.
///
/// Source: https://www.wireguard.com/netns/#improved-rule-based-routing.
struct PolicyRouting {
    let netlink: RoutingNetlink
    /// Number of the table and the firewall mark.
    let table: UInt32

    /// - Parameter mark: The interface's own, whose number the table then has; 0 for none.
    init(netlink: RoutingNetlink, mark: UInt32) throws {
        self.netlink = netlink
        guard mark == 0 else {
            table = mark
            return
        }
        var candidate = Self.firstTable
        while try !netlink.routes(table: candidate).isEmpty { candidate += 1 }
        table = candidate
    }

    /// Gives the table its route. A failure says that another interface has the table.
    func addRoute(_ destination: IPPrefix, device: UInt32) throws {
        try netlink.addRoute(destination, device: device, table: table)
    }

    /// Makes the rules of one family, in the place of those that are there.
    func addRules(_ family: RoutingRule.Family) throws {
        remove(family)
        for rule in rules(family) { try netlink.addRule(rule) }
        if family == .ipv4 { try acceptMarkedReplies() }
    }

    /// Removes the rules of one family, however often they are there.
    ///
    /// - Returns: Whether there were any.
    @discardableResult
    func remove(_ family: RoutingRule.Family) -> Bool {
        guard let present = try? netlink.rules(family) else { return false }
        var earlier: [RoutingRule] = []
        var removed = false
        for rule in present {
            guard Self.isMarkRule(rule), rule.table == table else {
                earlier.append(rule)
                continue
            }
            removed = (try? netlink.removeRule(rule)) != nil || removed
            // The other rule of the pair is the nearest before it; more may be another interface's.
            if let index = earlier.lastIndex(where: Self.isMainRule) {
                try? netlink.removeRule(earlier.remove(at: index))
            }
        }
        return removed
    }

    /// Finds the rules that outlived their interface, whose routes went with it.
    ///
    /// - Parameters:
    ///   - mark: The interface's own; 0 where ``init(netlink:mark:)`` chose it.
    ///   - marksInUse: Those of interfaces that are there, with routes or without.
    static func leftovers(
        netlink: RoutingNetlink, mark: UInt32, marksInUse: Set<UInt32>
    ) throws -> [PolicyRouting] {
        let rules = try netlink.rules(.ipv4) + netlink.rules(.ipv6)
        let tables = Set(rules.filter(isMarkRule).map(\.table)).filter { table in
            (mark == 0 ? table >= firstTable : table == mark) && !marksInUse.contains(table)
        }
        return try tables.filter { try netlink.routes(table: $0).isEmpty }
            .map { try PolicyRouting(netlink: netlink, mark: $0) }
    }

    static func family(of prefix: IPPrefix) -> RoutingRule.Family {
        prefix.address.isIPv4 ? .ipv4 : .ipv6
    }

    /// The kernel puts a rule before those that were added earlier.
    private func rules(_ family: RoutingRule.Family) -> [RoutingRule] {
        [
            RoutingRule(family: family, table: table, firewallMark: table, isInverted: true),
            RoutingRule(
                family: family, table: RoutingNetlink.mainTable, suppressPrefixLength: 0),
        ]
    }

    private static func isMarkRule(_ rule: RoutingRule) -> Bool {
        rule.isInverted && rule.firewallMark == rule.table && rule.table != 0
            && rule.suppressPrefixLength == nil
    }

    private static func isMainRule(_ rule: RoutingRule) -> Bool {
        rule.table == RoutingNetlink.mainTable && rule.suppressPrefixLength == 0
            && rule.firewallMark == nil && !rule.isInverted
    }

    /// Makes reverse path filtering look at the mark that the packet filter restores.
    private func acceptMarkedReplies() throws {
        let path = "/proc/sys/net/ipv4/conf/all/src_valid_mark"
        do {
            try Data("1".utf8).write(to: URL(fileURLWithPath: path))
        } catch {
            throw Failure.failed("cannot write 1 to \(path): \(error.localizedDescription)")
        }
    }

    /// WireGuard's port number, which wg-quick starts from as well.
    private static let firstTable: UInt32 = 51820
}
