import ArgumentParser
import ControlModel
import Cryptography
import Foundation
import LinuxNetworking
import PacketFormats
import QRCode
import WireGuardConfiguration

/// Where a WireGuard client's configuration goes, and what is in it beside keys.
struct ClientFileOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where to write the configuration; - for standard output. By default NAME.conf.",
            valueName: "file"),
        completion: .file())
    var output: String?

    @Flag(help: "Show the configuration as a QR code, for WireGuard's apps.")
    var qr = false

    @Option(
        name: .customLong("allowed-ips"),
        help: ArgumentHelp(
            """
            What is sent through the tunnel, networks with commas between; by default the \
            gateways' addresses and the networks behind them.
            """, valueName: "networks"),
        transform: ClientFileOptions.networks)
    var allowedIPs: [IPPrefix]?

    @Option(
        help: ArgumentHelp("Name servers, with commas between.", valueName: "addresses"),
        transform: ClientFileOptions.addresses)
    var dns: [IPAddress]?

    /// - Throws: If a code is wanted that an app could make no tunnel of.
    func checkQR(hasPrivateKey: Bool) throws {
        guard !qr || hasPrivateKey else {
            throw ValidationError(
                "without the client's private key a QR code is of no use to WireGuard's apps; "
                    + "leave --qr away, or let this program have the key")
        }
    }

    /// - Throws: If there is such a file already: a private key may be in it.
    func path(for name: String) throws -> String {
        if output == nil, !Self.isFileName(name) {
            throw Failure.badInput("\(Text.plain(name)) is no file's name; give --output")
        }
        let path = output ?? "\(name).conf"
        if path != "-", FileManager.default.fileExists(atPath: path) {
            throw Failure.badInput("\(path) exists already; give another name with --output")
        }
        return path
    }

    func configuration(
        of grant: Grant, key: PrivateKey?, gateways: [GatewayPeer]
    ) throws -> WireGuardFile {
        var interface = WireGuardFile.Interface()
        interface.privateKey = key
        interface.addresses = grant.addresses.sorted().map {
            AddressSetting(address: $0.address, prefixLength: $0.length)
        }
        interface.dnsServers = dns ?? []
        var taken: Set<IPPrefix> = []
        var peers: [WireGuardFile.Peer] = []
        for gateway in gateways {
            var peer = WireGuardFile.Peer(publicKey: gateway.grant.publicKey)
            peer.endpoint = gateway.endpoint
            if gateway.endpoint == nil {
                Console.error(
                    Text.plain(
                        "note: nobody said where \(gateway.name) is reached; add its Endpoint"))
            }
            let routed = gateway.grant.grant.addresses.union(gateway.grant.grant.routes)
            // A network belongs to one peer only: the first.
            peer.allowedIPs = (allowedIPs ?? routed.sorted()).filter {
                taken.insert($0).inserted
            }
            peer.persistentKeepaliveSeconds = Self.keepaliveSeconds
            peers.append(peer)
        }
        return WireGuardFile(interface: interface, peers: peers)
    }

    /// Writes the file, readable by its owner only, and shows the QR code.
    func write(_ file: WireGuardFile, to path: String) throws {
        var text = file.text
        defer { text.wipe() }
        if qr {
            guard let code = QRCode(text) else {
                throw Failure.failed(
                    "the configuration is too long for a QR code; leave --qr away, or give fewer "
                        + "networks with --allowed-ips")
            }
            for line in code.terminalLines { Console.error(line) }
        }
        guard path != "-" else {
            var copy = text
            return try Console.write(wiping: &copy)
        }
        do {
            try PrivateFile.replace(path, with: text)
        } catch {
            throw Failure.failed("cannot write \(path): \(error)")
        }
        Console.error("note: wrote \(path)")
        if file.interface.privateKey == nil {
            Console.error("note: add the client's PrivateKey to its [Interface]")
        }
    }

    private static func isFileName(_ text: String) -> Bool {
        !text.isEmpty && !text.hasPrefix(".")
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-.".contains($0)) }
    }

    private static func networks(_ text: String) throws -> [IPPrefix] {
        try text.split(separator: ",").map {
            try Parse.prefix($0.trimmingCharacters(in: .whitespaces))
        }
    }

    private static func addresses(_ text: String) throws -> [IPAddress] {
        try text.split(separator: ",").map { part in
            guard let address = IPAddress(part.trimmingCharacters(in: .whitespaces)) else {
                throw ValidationError("\(part) is not an address")
            }
            return address
        }
    }

    /// Keeps the way through a NAT open. wg(8)
    private static let keepaliveSeconds: UInt16 = 25
}
