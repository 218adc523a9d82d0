import LinuxNetworking
import PacketFormats

/// Packet filter rules that protect an interface with a default route: packets to its addresses
/// must come through it, and replies to its datagrams find their mark again.
///
/// The table has the name that wg-quick(8) gives it, so that either program can take it down.
struct SpoofingFilter {
    let interfaceName: String

    private var table: String { "wg-quick-\(interfaceName)" }

    /// - Parameters:
    ///   - addresses: Those of the interface, of both families.
    ///   - mark: Firewall mark of the interface's own datagrams.
    /// - Returns: Whether rules were set.
    func apply(
        _ family: RoutingRule.Family, addresses: [IPAddress], mark: UInt32
    ) throws -> Bool {
        guard let program = Program.find("nft") else {
            Console.error(
                "note: packets that claim to come through \(interfaceName) are not filtered: there "
                    + "is no nft; install nftables")
            return false
        }
        let code = try Program.run(
            program, ["-f", "-"], input: rules(family, addresses, mark))
        guard code == 0 else {
            throw Failure.failed("nft refused the filter rules (exit code \(code))")
        }
        return true
    }

    /// Removes what was set for either family; nothing there is no failure.
    func remove() {
        guard let program = Program.find("nft") else { return }
        let commands = Self.families.map { absence("\($0) \(table)") }
        let code = try? Program.run(program, ["-f", "-"], input: commands.joined())
        if code != 0 { Console.error("note: nft did not remove the table \(table)") }
    }

    /// Whether there are rules of either family.
    var isPresent: Bool {
        guard let program = Program.find("nft") else { return false }
        return Self.families.contains { word in
            let listing = "exec \"$0\" list table \"$@\" >/dev/null 2>&1"
            return (try? Program.run("/bin/sh", ["-c", listing, program, word, table])) == 0
        }
    }

    /// Adding first makes deletion succeed whether or not the table exists.
    private func absence(_ place: String) -> String {
        "add table \(place)\ndelete table \(place)\n"
    }

    private func rules(
        _ family: RoutingRule.Family, _ addresses: [IPAddress], _ mark: UInt32
    ) -> String {
        let word = family == .ipv4 ? "ip" : "ip6"
        let place = "\(word) \(table)"
        var lines = [
            "add table \(place)",
            "add chain \(place) preraw { type filter hook prerouting priority -300; }",
            "add chain \(place) premangle { type filter hook prerouting priority -150; }",
            "add chain \(place) postmangle { type filter hook postrouting priority -150; }",
        ]
        for address in addresses where address.isIPv4 == (family == .ipv4) {
            lines.append(
                "add rule \(place) preraw iifname != \"\(interfaceName)\" \(word) daddr \(address) "
                    + "fib saddr type != local drop")
        }
        lines += [
            "add rule \(place) postmangle meta l4proto udp mark \(mark) ct mark set mark",
            "add rule \(place) premangle meta l4proto udp meta mark set ct mark",
        ]
        return absence(place) + lines.joined(separator: "\n") + "\n"
    }

    /// nft's words for IPv4 and IPv6.
    private static let families = ["ip", "ip6"]
}
