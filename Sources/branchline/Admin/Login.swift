import ControlModel
import Cryptography

/// Which coordinator an admin uses and whom to believe about it; ``AdminFolder/File/login``.
struct Login: Codable, Sendable {
    /// `https://host:port`.
    var coordinator: String
    /// Of the coordinator's key; without it public certificate authorities vouch.
    var pin: String?
    /// An API token or another bearer token; none after `admin logout`.
    var apiToken: String?
    /// The organisation's roots that are believed, oldest first.
    var roots: [Root]

    struct Root: Codable, Sendable {
        var key: String
        var successor: String?
        var retiresAt: Int64?
    }

    init(coordinator: String, pin: ServerPin?, apiToken: String?, root: VerifyingKey) {
        self.coordinator = coordinator
        self.pin = pin?.base64URL
        self.apiToken = apiToken
        roots = [Root(key: root.base64URL)]
    }

    /// - Returns: `nil` where the folder has no login.
    init?(_ folder: AdminFolder) throws {
        guard let bytes = try folder.read(.login) else { return nil }
        do {
            self = try APIJSON.decode(from: bytes)
        } catch {
            throw Failure.failed(
                "\(folder.path(.login)) is damaged; restore it, or remove it and log in again")
        }
    }

    func save(_ folder: AdminFolder) throws {
        try folder.write(.login, text: try APIJSON.encodePretty(self))
    }

    var anchors: RootAnchors? {
        get {
            let anchors = roots.compactMap { root in
                VerifyingKey(base64URL: root.key).map { key in
                    RootAnchors.Anchor(
                        key: key,
                        successor: root.successor.flatMap { VerifyingKey(base64URL: $0) },
                        retiresAt: root.retiresAt)
                }
            }
            return anchors.count == roots.count ? RootAnchors(restoring: anchors) : nil
        }
        set {
            roots = (newValue?.anchors ?? []).map { anchor in
                Root(
                    key: anchor.key.base64URL, successor: anchor.successor?.base64URL,
                    retiresAt: anchor.retiresAt)
            }
        }
    }

    var serverPin: ServerPin? { pin.flatMap { ServerPin(base64URL: $0) } }
}

/// What an admin has seen and signed, so that nothing older passes for the newest;
/// ``AdminFolder/File/seen``.
struct SeenStatements: Codable, Sendable {
    /// The newest revocation list of each realm, as it was signed.
    var lists: [String] = []
    /// Highest serial of a grant by tenant and node.
    var serials: [String: Int64] = [:]

    init() {}

    init(_ folder: AdminFolder) throws {
        guard let bytes = try folder.read(.seen, bytesMax: 256 << 20) else { return }
        do {
            self = try APIJSON.decode(from: bytes)
        } catch {
            throw Failure.failed(
                "\(folder.path(.seen)) is damaged; restore it. Without it nobody notices a "
                    + "coordinator that hands out old revocation lists; if that is fine, remove it")
        }
    }

    func save(_ folder: AdminFolder) throws {
        try folder.write(.seen, try APIJSON.encode(self))
    }

    /// The highest serial that was seen of a node; 0 for none.
    func serial(of node: VerifyingKey, in tenant: Name) -> Int64 {
        serials["\(tenant)/\(node)"] ?? 0
    }

    mutating func note(_ grant: Grant) {
        let key = "\(grant.tenant)/\(grant.node)"
        serials[key] = max(serials[key] ?? 0, grant.serial)
    }
}
