import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography

/// Replaces the root key; what broke off goes on when it is run again, serially:
///
/// 1. Make the next root key, and sign the rollover with the old one; write both.
/// 2. The coordinator takes the rollover, and all nodes follow.
/// 3. The next root signs the admins' keys and the revocation lists again.
/// 4. The next root key takes the old one's place in the folder.
struct AdminRollover: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollover",
        abstract: "Replace the root key by a new one, and sign the admins' keys again.",
        discussion: """
            Both roots count until the old one retires. Until then let every admin run `branchline \
            node renew --all`, so that the nodes' grants hang from the new root. For example:

              branchline admin rollover --retire-after 30d
            """)

    @Option(
        help: ArgumentHelp("When the old root stops to count.", valueName: "duration"),
        transform: Parse.duration)
    var retireAfter: Int64 = 30 * 86_400

    @Option(
        help: ArgumentHelp(
            "How long a node may be away and still follow to the new root.",
            valueName: "duration"),
        transform: Parse.duration)
    var followFor: Int64 = 3 * 365 * 86_400

    @Flag(help: "Keep the new key without a passphrase, readable by its owner only.")
    var noPassphrase = false

    @Option(
        help: ArgumentHelp(
            "Read the new key's passphrase from a file; by default it is asked for.",
            valueName: "file"),
        completion: .file())
    var newPassphraseFile: String?

    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var confirmation: ConfirmOptions

    func validate() throws {
        guard retireAfter <= followFor, followFor <= TrustLimits.rolloverSecondsMax else {
            throw ValidationError(
                "--retire-after is at most --follow-for, and that is at most "
                    + "\(TrustLimits.rolloverSecondsMax / 86_400)d")
        }
    }

    func run() async throws {
        let root = try await AdminSession.run { session in
            if !session.folder.exists(.rollover) {
                try confirmation.confirm(
                    "Replace the root key of the organisation? The old one retires in "
                        + "\(retireAfter / 86_400) days.")
                try prepare(session, try await session.trust(nil))
            }
            return try await carryOut(session)
        }
        try Console.output("the root is now \(root)")
        Console.error(
            "note: let every admin run `branchline node renew --all` before the old root retires, "
                + "and keep a copy of \(AdminFolder.File.rootKey.rawValue) elsewhere")
    }

    private var newPassphrase: PassphraseOptions {
        get throws {
            try PassphraseOptions.parse(newPassphraseFile.map { ["--passphrase-file", $0] } ?? [])
        }
    }

    private func prepare(_ session: AdminSession, _ trust: Trust) throws {
        var secret = noPassphrase ? nil : try newPassphraseIfGiven.readNew()
        defer { secret?.wipe() }
        let next = SigningKey.generate()
        try session.folder.writeKey(next, to: .nextRootKey, passphrase: secret)
        let now = session.now
        guard let validity = Validity(from: now, until: now + followFor) else {
            throw Failure.badInput("--follow-for is no duration")
        }
        let rollover = RootRollover(
            nextRoot: next.verifyingKey, retiresAt: now + retireAfter, validity: validity)
        try session.folder.write(
            .rollover, text: try session.rootSigned(.rollover(rollover), trust, passphrase))
    }

    private func carryOut(_ session: AdminSession) async throws -> VerifyingKey {
        guard let rollover = try session.folder.text(.rollover) else {
            throw Failure.failed("there is no \(session.folder.path(.rollover))")
        }
        guard session.folder.exists(.nextRootKey) else { return try finish(session) }
        let next = try session.folder.openKey(.nextRootKey, try newPassphraseIfGiven)
        let _: CoordinatorAPI.Organisation = try await session.client.call(
            .post, "/v1/organisation/rollovers",
            body: CoordinatorAPI.SignedStatement(statement: rollover)
        ).answer
        let trust = try await session.trust(nil)
        guard trust.verifier.anchors.anchors.last?.key == next.verifyingKey else {
            throw Failure.failed(
                "the coordinator took the rollover but does not hand it out; try again")
        }
        try await signAdmins(session, trust, next)
        try await signLists(session, trust, next)
        return try finish(session)
    }

    /// Each step leaves a folder from which the next one goes on.
    private func finish(_ session: AdminSession) throws -> VerifyingKey {
        if session.folder.exists(.nextRootKey) {
            if session.folder.exists(.rootKey) {
                try session.folder.rename(.rootKey, to: .oldRootKey)
            }
            try session.folder.rename(.nextRootKey, to: .rootKey)
        }
        guard let root = try session.folder.publicKey(.rootKey) else {
            throw Failure.failed(
                "there is neither \(session.folder.path(.nextRootKey)) nor "
                    + "\(session.folder.path(.rootKey)); put the new root's key back")
        }
        try session.folder.remove(.rollover)
        return root
    }

    /// One file for both keys where only one is named.
    private var newPassphraseIfGiven: PassphraseOptions {
        get throws {
            let isForBoth = newPassphraseFile == nil && passphrase.passphraseFile != nil
            return isForBoth ? passphrase : try newPassphrase
        }
    }

    private func signAdmins(
        _ session: AdminSession, _ trust: Trust, _ next: borrowing SigningKey
    ) async throws {
        let own = try session.folder.publicKey(.adminKey)
        for listed in trust.organisation.admins where !listed.isRevoked {
            guard let key = VerifyingKey(base64URL: listed.key),
                let admin = try? trust.admin(key), admin.validity.until > session.now
            else { continue }
            let link = try Statement.admin(admin).signed(by: next)
            _ = try trust.verifier.verifyAdmin(StatementChain([link]), at: session.now)
            let _: CoordinatorAPI.Admin = try await session.client.call(
                .post, "/v1/organisation/admins",
                body: CoordinatorAPI.SignedStatement(statement: link)
            ).answer
            if key == own { try session.folder.write(.adminLink, text: link) }
        }
    }

    /// Lists that hang from the old root would not count after it.
    private func signLists(
        _ session: AdminSession, _ trust: Trust, _ next: borrowing SigningKey
    ) async throws {
        if trust.verifier.revocations.list(of: .organisation) != nil {
            try await session.revokeByRoot([], in: .organisation, trust, signedBy: next)
        }
        for tenant in try await session.tenants(try TenantOption.parse([])) {
            let trust = try await session.trust(tenant)
            guard trust.verifier.revocations.list(of: .tenant(tenant)) != nil else { continue }
            try await session.revokeByRoot([], in: .tenant(tenant), trust, signedBy: next)
        }
    }
}
