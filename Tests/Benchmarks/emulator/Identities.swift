import Cryptography
import PacketFormats

/// Keys and inner addresses of everybody, from a seed. Never a secret: for benchmarks only.
struct Identities {
    let seed: String

    /// Inner address of the gateway in every tenant.
    static let gatewayAddress = IPAddress(ipv4: 0x0a00_0001)
    /// Inner addresses of peers: 10.1.0.0 and on, the same in all tenants.
    static func address(of peer: Int) -> IPAddress {
        IPAddress(ipv4: 0x0a01_0000 + UInt32(truncatingIfNeeded: peer))
    }
    static let peersMax = 1 << 20

    func gatewayKey(of tenant: Int) -> PrivateKey { key("gateway \(tenant)") }

    func peerKey(tenant: Int, peer: Int) -> PrivateKey { key("peer \(tenant) \(peer)") }

    func gatewayKeyText(of tenant: Int) -> String {
        var text: [UInt8] = []
        gatewayKey(of: tenant).unsafeAppendBase64(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    private func key(_ name: String) -> PrivateKey {
        let digest = BLAKE2s.hash(Array("\(seed)\0\(name)".utf8))
        return digest.withBytes { PrivateKey(clamping: Secret32(copying: $0)) }
    }
}
