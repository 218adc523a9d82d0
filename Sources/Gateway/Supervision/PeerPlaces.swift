import Cryptography
import LinuxNetworking
import PacketFormats
import WireGuardConfiguration

/// Where a tenant's peers were reached last, so that after a restart the gateway speaks first: a
/// branch would notice only after 15 seconds, and one that has nothing to say never.
///
/// Hints only: a peer that has moved is found by its next packet.
struct PeerPlaces: Sendable {
    /// Beside the tenant's file; each line a key and an address.
    private let path: String
    private var places: [PublicKey: Endpoint] = [:]
    private var isUnsaved = false

    /// Reads what was kept; what cannot be read is left out.
    init(path: String) {
        self.path = path
        let bytes = (try? PrivateFolder.read(path, byteCountMax: Self.byteCountMax)) ?? []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let key = PublicKey(base64: String(words[0])),
                let endpoint = Endpoint(String(words[1])), endpoint.port != 0
            else { continue }
            places[key] = endpoint
        }
    }

    subscript(_ key: PublicKey) -> Endpoint? { places[key] }

    /// Takes up where the peers are now, and forgets those that are none any more.
    mutating func note(_ peers: [PeerStatus]) {
        var found: [PublicKey: Endpoint] = [:]
        for peer in peers { found[peer.publicKey] = peer.endpoint ?? places[peer.publicKey] }
        guard found != places else { return }
        places = found
        isUnsaved = true
    }

    mutating func save() {
        guard isUnsaved else { return }
        isUnsaved = false
        let lines = places.map { "\($0.key.base64) \($0.value)\n" }.sorted().joined()
        // Hints do not have to outlast a loss of power, nor a full disk.
        try? PrivateFile.replace(path, with: Array(lines.utf8))
    }

    /// Of more peers than a tenant has.
    private static let byteCountMax = 16 << 20
}
