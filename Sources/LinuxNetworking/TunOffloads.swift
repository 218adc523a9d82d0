import CLinux

/// What a TUN device may leave to us: partial checksums and frames to be segmented.
public struct TunOffloads: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Packets whose transport checksum is still to be completed; all others need it.
    public static let checksum = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_CSUM))
    public static let tcp4 = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_TSO4))
    public static let tcp6 = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_TSO6))
    /// TCP frames that carry CWR: their first segment keeps it alone.
    public static let tcpECN = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_TSO_ECN))
    /// UDP frames over IPv4 (Linux 6.2).
    public static let udp4 = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_USO4))
    /// UDP frames over IPv6 (Linux 6.2).
    public static let udp6 = TunOffloads(rawValue: UInt32(CLINUX_TUN_F_USO6))

    public static let tcp: TunOffloads = [.tcp4, .tcp6]
    public static let udp: TunOffloads = [.udp4, .udp6]
    public static let all: TunOffloads = [.checksum, .tcp, .tcpECN, .udp]
}

extension TunOffloads: CustomStringConvertible {
    /// Short words for a status line: "checksum tcp4 tcp6 tcp-ecn udp4 udp6".
    public var description: String {
        let names: [(TunOffloads, String)] = [
            (.checksum, "checksum"), (.tcp4, "tcp4"), (.tcp6, "tcp6"), (.tcpECN, "tcp-ecn"),
            (.udp4, "udp4"), (.udp6, "udp6"),
        ]
        let present = names.filter { contains($0.0) }.map(\.1)
        return present.isEmpty ? "none" : present.joined(separator: " ")
    }
}
