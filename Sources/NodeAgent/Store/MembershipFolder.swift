import ControlModel
public import Cryptography
public import LinuxNetworking
import PacketMemory
import SystemPackage

/// One interface's membership on disk.
///
/// | file | holds | written |
/// |---|---|---|
/// | `node.key` | the node's signing key (``KeyFile``) | when joining |
/// | `secret` | the bearer token | when joining |
/// | `membership.json` | ``StoredMembership/Terms`` | when joining |
/// | `wireguard.key` | the private key in use, base64 | when joining and rotating |
/// | `wireguard.next` | the key that a rotation leads to | while rotating |
/// | `trust.json` | ``StoredMembership/Trust`` | with every change of it |
/// | `network.json` | ``StoredMembership/Network`` | a second after changes |
/// | `endpoints.json` | ``StoredMembership/Endpoints`` | half a minute after changes |
/// | `status.json` | ``AgentStatus`` | for `branchline status` |
///
/// Every file is replaced in one step and only its owner may read it, so whatever moment the
/// process or the machine dies at, each is its old or its new self. They may be of different age:
/// what is in `network.json` is asked for again from its number on.
public struct MembershipFolder: Hashable, Sendable {
    public let path: String

    public init(path: String) { self.path = path }

    /// The folder of an interface: under `$BRANCHLINE_STATE`, or `/var/lib/branchline`.
    public static func standard(of interface: String, stateFolder: String?) -> MembershipFolder {
        MembershipFolder(path: "\(stateFolder ?? defaultStateFolder)/\(interface)")
    }

    public static var defaultStateFolder: String { "/var/lib/branchline" }

    /// The interfaces that have memberships in a state folder.
    public static func interfaces(stateFolder: String?) -> [String] {
        PrivateFolder.entries(stateFolder ?? defaultStateFolder).filter {
            !$0.hasSuffix(draftSuffix) && standard(of: $0, stateFolder: stateFolder).isJoined
        }
    }

    public var isJoined: Bool { PrivateFolder.exists(file(.membership)) }

    /// Writes a new membership: all of it appears at once, or nothing.
    public func create(_ membership: borrowing StoredMembership) throws(MembershipFault) {
        let draft = MembershipFolder(path: path + Self.draftSuffix)
        try system { () throws(Errno) in
            if PrivateFolder.exists(draft.path) { try PrivateFolder.remove(draft.path) }
            try PrivateFolder.create(draft.path)
        }
        try draft.write(membership.nodeKey)
        try draft.write(membership.wireGuardKey, to: .wireGuardKey)
        try draft.write(Array(membership.credential.utf8) + Self.newline, to: .secret)
        try draft.write(json: membership.terms, to: .membership)
        try draft.save(membership.trust)
        try draft.save(membership.network)
        try system { () throws(Errno) in try PrivateFolder.rename(draft.path, to: path) }
    }

    /// Keeps other agents out, for as long as the lock lives.
    public func lock() throws(MembershipFault) -> PrivateFolder.Lock {
        do {
            return try PrivateFolder.Lock(path, waitNanosecondsMax: 3_000_000_000)
        } catch {
            throw .folder(error)
        }
    }

    /// Reads and checks everything. Peers that cannot be read are asked for again; nothing else
    /// can be done without.
    public func load() throws(MembershipFault) -> StoredMembership {
        guard PrivateFolder.exists(path), isJoined else { throw .notJoined(path: path) }
        do {
            try PrivateFolder.check(path)
        } catch {
            throw .folder(error)
        }
        let terms: StoredMembership.Terms = try read(json: .membership)
        let trust: StoredMembership.Trust = try read(json: .trust)
        guard terms.version == 1, trust.version == 1 else {
            throw .damaged(path: path, "its version is none that this program reads")
        }
        guard trust.verifier != nil else { throw .damaged(path: file(.trust), "not trust") }
        guard let key = try readKey(.wireGuardKey) else {
            throw .damaged(path: file(.wireGuardKey), "not a key")
        }
        let nodeKey = try readNodeKey()
        guard nodeKey.verifyingKey.base64URL == terms.node else {
            throw .damaged(path: file(.nodeKey), "not the key of this node")
        }
        return StoredMembership(
            terms: terms, trust: trust, network: try readNetwork(), nodeKey: nodeKey,
            wireGuardKey: key,
            nextKey: PrivateFolder.exists(file(.nextKey)) ? try readKey(.nextKey) : nil,
            credential: try readSecret())
    }

    public func terms() throws(MembershipFault) -> StoredMembership.Terms {
        guard isJoined else { throw .notJoined(path: path) }
        return try read(json: .membership)
    }

    public func status() -> AgentStatus? { try? read(json: .status) }

    /// Where peers were last; nothing where it cannot be read.
    public func endpoints() -> StoredMembership.Endpoints {
        let stored: StoredMembership.Endpoints? = try? read(json: .endpoints)
        return stored.flatMap { $0.version == 1 ? $0 : nil } ?? StoredMembership.Endpoints()
    }

    /// Before another process begins to tell its own.
    public func forgetStatus() { try? PrivateFolder.wipe(file(.status)) }

    public func save(_ trust: StoredMembership.Trust) throws(MembershipFault) {
        try write(json: trust, to: .trust)
    }

    public func save(_ network: StoredMembership.Network) throws(MembershipFault) {
        try write(json: network, to: .network)
    }

    public func save(_ endpoints: StoredMembership.Endpoints) throws(MembershipFault) {
        try write(json: endpoints, to: .endpoints)
    }

    public func save(_ status: AgentStatus) throws(MembershipFault) {
        try write(json: status, to: .status)
    }

    /// Keeps the key that a rotation leads to, before anybody else hears of it.
    public func beginRotation(to key: PrivateKey) throws(MembershipFault) {
        try write(key, to: .nextKey)
    }

    /// The next key becomes the one in use.
    public func finishRotation() throws(MembershipFault) {
        try system { () throws(Errno) in
            try PrivateFolder.rename(file(.nextKey), to: file(.wireGuardKey))
        }
    }

    /// Wipes and removes all of it.
    public func remove() throws(MembershipFault) {
        try system { () throws(Errno) in try PrivateFolder.remove(path) }
    }

    // MARK: - Files

    private enum File: String {
        case nodeKey = "node.key"
        case secret = "secret"
        case membership = "membership.json"
        case wireGuardKey = "wireguard.key"
        case nextKey = "wireguard.next"
        case trust = "trust.json"
        case network = "network.json"
        case endpoints = "endpoints.json"
        case status = "status.json"

        var byteCountMax: Int {
            switch self {
            case .nodeKey, .secret, .wireGuardKey, .nextKey: 4 << 10
            case .membership: 1 << 20
            // With the names of thousands of peers.
            case .status: 4 << 20
            // A list of each of a few realms.
            case .trust: 16 << 20
            // A line for each peer that a node remembers.
            case .endpoints: 16 << 20
            // More peers than a node remembers, with long chains.
            case .network: 256 << 20
            }
        }
    }

    private func file(_ file: File) -> String { "\(path)/\(file.rawValue)" }

    private func write(_ bytes: [UInt8], to file: File) throws(MembershipFault) {
        try system { () throws(Errno) in
            try PrivateFile.replace(self.file(file), with: bytes)
            // What is only told or a hint does not have to outlast a loss of power.
            if file != .status && file != .endpoints { try PrivateFolder.synchronize(path) }
        }
    }

    private func write(json value: some Encodable, to file: File) throws(MembershipFault) {
        guard let bytes = try? APIJSON.encode(value) else {
            throw .damaged(path: self.file(file), "it cannot be written as JSON")
        }
        try write(bytes, to: file)
    }

    private func write(_ key: PrivateKey, to file: File) throws(MembershipFault) {
        var text: [UInt8] = []
        defer { text.wipe() }
        key.unsafeAppendBase64(to: &text)
        text.append(contentsOf: Self.newline)
        try write(text, to: file)
    }

    private func write(_ key: borrowing SigningKey) throws(MembershipFault) {
        let arena = ByteArena(count: KeyFile.unprotectedCount)
        KeyFile.writeUnprotected(key, kind: .node, to: arena.whole)
        var bytes = withExtendedLifetime(arena) { arena.whole.bytes }
        defer {
            bytes.wipe()
            arena.whole.fill(with: 0)
        }
        try write(bytes, to: .nodeKey)
    }

    private func read(_ file: File) throws(MembershipFault) -> [UInt8] {
        do {
            return try PrivateFolder.read(self.file(file), byteCountMax: file.byteCountMax)
        } catch {
            throw .folder(error)
        }
    }

    private func read<Value: Decodable>(json file: File) throws(MembershipFault) -> Value {
        let bytes = try read(file)
        do {
            return try APIJSON.decode(Value.self, from: bytes)
        } catch {
            throw .damaged(path: self.file(file), "it is not the JSON that was written")
        }
    }

    private func readNetwork() throws(MembershipFault) -> StoredMembership.Network {
        do {
            return try read(json: .network)
        } catch {
            if case .damaged = error { return StoredMembership.Network() }
            if case .folder(.system(_, .noSuchFileOrDirectory)) = error {
                return StoredMembership.Network()
            }
            throw error
        }
    }

    private func readKey(_ file: File) throws(MembershipFault) -> PrivateKey? {
        var bytes = try read(file)
        defer { bytes.wipe() }
        return PrivateKey(base64: bytes.prefix { $0 != Self.newline[0] })
    }

    private func readNodeKey() throws(MembershipFault) -> SigningKey {
        var bytes = try read(.nodeKey)
        defer { bytes.wipe() }
        let arena = ByteArena(count: max(bytes.count, 1))
        let region = arena.whole.prefix(bytes.count)
        defer { arena.whole.fill(with: 0) }
        for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        do {
            return try KeyFile.open(region, kind: .node, passphrase: nil)
        } catch {
            throw .damaged(path: file(.nodeKey), "\(error)")
        }
    }

    private func readSecret() throws(MembershipFault) -> String {
        var bytes = try read(.secret)
        defer { bytes.wipe() }
        let text = String(decoding: bytes.prefix { $0 != Self.newline[0] }, as: UTF8.self)
        guard text.hasPrefix("bln_"), text.utf8.count == 47 else {
            throw .damaged(path: file(.secret), "not a node's secret")
        }
        return text
    }

    private func system(_ body: () throws(Errno) -> Void) throws(MembershipFault) {
        do {
            try body()
        } catch {
            throw .folder(.system(path: path, error))
        }
    }

    /// Of a membership that is not whole yet.
    private static let draftSuffix = ".joining"
    private static let newline: [UInt8] = [UInt8(ascii: "\n")]
}
