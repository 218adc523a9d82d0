import PacketFormats

/// Bytes of an IP address.
enum IPAddressBytes {
    /// - Parameter text: As in a URL's host, IPv6 without brackets.
    static func parse(_ text: String) -> [UInt8]? {
        guard let address = IPAddress(text) else { return nil }
        if address.isIPv4 { return bytes(UInt64(address.ipv4), count: 4) }
        return bytes(address.high, count: 8) + bytes(address.low, count: 8)
    }

    private static func bytes(_ number: UInt64, count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
    }
}

/// What clients may call the coordinator.
struct ServerNames: Hashable, Sendable {
    let names: [String]

    /// - Parameter publicURL: `https://host[:port]`.
    /// - Parameter listenHost: An address; a wildcard stands for this machine's names.
    init(publicURL: String, listenHost: String, hostName: String) {
        var names: [String] = []
        func add(_ name: String) {
            let name = name.lowercased()
            let isName = IPAddressBytes.parse(name) != nil
                || name.wholeMatch(of: /[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/) != nil
            if isName, !names.contains(name) { names.append(name) }
        }
        if let host = Self.host(of: publicURL) { add(host) }
        if ["0.0.0.0", "::", ""].contains(listenHost) {
            for name in [hostName, "localhost", "127.0.0.1", "::1"] { add(name) }
        } else {
            add(listenHost)
        }
        self.names = names
    }

    /// - Returns: The host of an `https` URL, IPv6 without brackets.
    static func host(of url: String) -> String? {
        let pattern = /https:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?\/?/
        guard let match = url.wholeMatch(of: pattern) else { return nil }
        return String(match.1.filter { $0 != "[" && $0 != "]" })
    }
}
