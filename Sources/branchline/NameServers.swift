import Foundation
import PacketFormats
import WireGuardConfiguration

/// The DNS setting of an interface, handed to resolvconf(8) where that is installed.
struct NameServers {
    let interfaceName: String
    let interface: WireGuardFile.Interface

    private var isEmpty: Bool {
        interface.dnsServers.isEmpty && interface.dnsSearchDomains.isEmpty
    }

    /// - Returns: Whether ``remove()`` has something to take back.
    func apply() throws -> Bool {
        if isEmpty { return false }
        guard let program = Program.find("resolvconf") else {
            let names = interface.dnsServers.map(\.description) + interface.dnsSearchDomains
            Console.error(
                "note: DNS = \(names.joined(separator: ", ")) is not in effect: there is no "
                    + "resolvconf; install openresolv, or set name servers with PostUp")
            return false
        }
        var text = interface.dnsServers.map { "nameserver \($0)\n" }.joined()
        if !interface.dnsSearchDomains.isEmpty {
            text += "search \(interface.dnsSearchDomains.joined(separator: " "))\n"
        }
        let code = try Program.run(program, ["-a", record, "-m", "0", "-x"], input: text)
        guard code == 0 else {
            throw Failure.failed("resolvconf refused the DNS setting (exit code \(code))")
        }
        return true
    }

    /// Takes the servers back; complains but does not fail.
    func remove() {
        guard !isEmpty, let program = Program.find("resolvconf") else { return }
        let code = try? Program.run(program, ["-d", record, "-f"])
        if code != 0 { Console.error("note: resolvconf did not take the DNS setting back") }
    }

    /// resolvconf sorts records by name; the first pattern of its order puts ours at the top.
    private var record: String {
        let order = try? String(contentsOfFile: "/etc/resolvconf/interface-order", encoding: .utf8)
        let patterns = (order ?? "").split(separator: "\n").filter { line in
            line.hasSuffix("*") && line.count > 1
                && line.dropLast().allSatisfy {
                    $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-")
                }
        }
        guard let first = patterns.first else { return interfaceName }
        return "\(first.dropLast()).\(interfaceName)"
    }
}
