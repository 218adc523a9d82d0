import ControlModel
import Cryptography
import PacketFormats
import PacketMemory

/// Chains, join texts, key files and the lines of watch streams.
///
/// Claims: nothing traps; whatever is believed is, to the byte, what the keys of this file signed;
/// a line that can be read is the same after being written and read again.
///
/// The first byte chooses the reader. Keys and time are fixed, so that inputs stay valid.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSignedStatements(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    let choice = input.byte()
    let bytes = input.rest()
    let text = String(decoding: bytes, as: UTF8.self)
    switch choice % 5 {
    case 0: readChain(text)
    case 1: readRevocations(text)
    case 2: readJoinText(text)
    case 3: readLine(bytes)
    default: readKeyFile(bytes)
    }
    return 0
}

private func readChain(_ text: String) {
    let verifier = Verifier(anchors: RootAnchors(root: world.root))
    guard let chain = try? StatementChain(parsing: text),
        let verified = try? verifier.verifyGrant(chain, at: World.now)
    else { return }
    claim(world.isSigned(chain), "a chain that nobody signed is believed")
    var memory = TrustMemory()
    claim((try? memory.admit(verified)) != nil, "a first grant contradicts nothing")
}

private func readRevocations(_ text: String) {
    var verifier = Verifier(anchors: RootAnchors(root: world.root))
    guard let chain = try? StatementChain(parsing: text),
        (try? verifier.acceptRevocations(chain, at: World.now)) != nil
    else { return }
    claim(world.isSigned(chain), "a list that nobody signed is believed")
}

private func readJoinText(_ text: String) {
    guard let join = try? JoinText(parsing: text, at: World.now) else { return }
    claim(join.unsafeText() == text, "a join text changes when written again")
}

private func readLine(_ bytes: [UInt8]) {
    guard let event = try? APIJSON.decode(CoordinatorAPI.WatchEvent.self, from: bytes) else {
        return
    }
    guard let written = try? APIJSON.encode(event),
        let again = try? APIJSON.decode(CoordinatorAPI.WatchEvent.self, from: written)
    else {
        claim(false, "an event that was read cannot be written and read")
        return
    }
    claim(again == event, "an event changes when written and read")
}

private func readKeyFile(_ bytes: [UInt8]) {
    ByteArena.withCopy(of: bytes) { file in
        guard let key = try? KeyFile.open(file, kind: .node, passphrase: nil) else { return }
        let arena = ByteArena(count: KeyFile.unprotectedCount)
        KeyFile.writeUnprotected(key, kind: .node, to: arena.whole)
        claim(arena.whole.bytes == bytes, "a key file changes when written again")
    }
}

private let world = World()

/// An organisation whose keys come from fixed seeds.
private struct World: ~Copyable {
    static let now: Int64 = 1_800_000_000

    let root: VerifyingKey
    private var signed: Set<String> = []

    init() {
        let rootKey = Self.key(1)
        let adminKey = Self.key(2)
        let tokenKey = Self.key(3)
        let nodeKey = Self.key(4)
        root = rootKey.verifyingKey
        let day: Int64 = 86_400
        guard let tenant = Name("acme"), let address = IPPrefix("10.64.0.2/32"),
            let id = TokenID(bytes: [UInt8](repeating: 7, count: TokenID.count)),
            let wireGuardKey = PublicKey(bytes: [UInt8](repeating: 9, count: PublicKey.count)),
            let validity = Validity(from: Self.now - day, until: Self.now + day)
        else { return }
        let admin = AdminKey(
            key: adminKey.verifyingKey, tenants: .all, roles: [.branch, .gateway],
            profiles: [.wireguard], ceiling: .token, grantSeconds: 2 * day, mayRevoke: true,
            validity: validity)
        let token = EnrolmentToken(
            id: id, key: tokenKey.verifyingKey, tenant: tenant, role: .branch,
            addresses: [address], profiles: [.wireguard], ceiling: .token, grantSeconds: 2 * day,
            coordinator: "https://hq.example:8443", validity: validity)
        let grant = Grant(
            node: nodeKey.verifyingKey, serial: 1, publicKey: wireGuardKey, tenant: tenant,
            role: .branch, addresses: [address], profile: .wireguard, ceiling: .token, token: id,
            validity: validity)
        let list = RevocationList(
            realm: .tenant(tenant), number: 3, issuedAt: Self.now - 10,
            revocations: [Revocation(.node(tokenKey.verifyingKey), until: Self.now + day)])
        signed = Set(
            [
                try? Statement.admin(admin).signed(by: rootKey),
                try? Statement.token(token).signed(by: adminKey),
                try? Statement.grant(grant).signed(by: tokenKey),
                try? Statement.revocations(list).signed(by: adminKey),
            ].compactMap { $0 })
    }

    borrowing func isSigned(_ chain: StatementChain) -> Bool {
        chain.links.allSatisfy(signed.contains)
    }

    private static func key(_ number: UInt8) -> SigningKey {
        var seed = Secret32()
        seed.withMutableBytes { $0.fill(with: number) }
        return SigningKey(seed: seed)
    }
}
