import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import Foundation

struct AdminRequestKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "request",
        abstract: "Make an admin's key on this machine and print what the root's keeper signs.",
        discussion: """
            What is printed is public. For example:

              branchline admin request
            """)

    @Flag(help: "Keep the key without a passphrase, readable by its owner only.")
    var noPassphrase = false

    @OptionGroup var passphrase: PassphraseOptions

    func run() throws {
        let folder = try AdminFolder()
        if folder.exists(.adminKey) {
            let key = try folder.openKey(.adminKey, passphrase)
            try Console.output(AdminRequest.text(of: key))
            return
        }
        var secret = noPassphrase ? nil : try passphrase.readNew()
        defer { secret?.wipe() }
        let key = SigningKey.generate()
        try folder.writeKey(key, to: .adminKey, passphrase: secret)
        try Console.output(AdminRequest.text(of: key))
        Console.error(
            "note: hand this line to whoever keeps the root key, for `branchline admin add`")
    }
}

struct AdminAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Sign another admin's key with the root key.",
        discussion: """
            Prints one line for `branchline admin accept` on the other machine. It holds an API \
            token where the key is for exactly one tenant, and is a secret then. For example:

              branchline admin add bla1~... --tenant acme --role branch --days 90
            """)

    @Argument(
        help: "What `branchline admin request` printed, or the key's 43 characters.",
        transform: KeyText.read)
    var request: String

    @Flag(name: .customLong("no-api-token"), help: "Make no API token for the new admin.")
    var noAPIToken = false

    @OptionGroup var scope: AdminScopeOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        guard let key = AdminRequest(parsing: request)?.key ?? VerifyingKey(base64URL: request)
        else {
            throw Failure.badInput(
                "that is not what `branchline admin request` prints; copy the whole line")
        }
        let (admin, invitation) = try await AdminSession.run { session in
            let trust = try await session.trust(nil)
            let link = try session.rootSigned(
                try scope.statement(of: key, at: session.now), trust, passphrase)
            let admin: CoordinatorAPI.Admin = try await session.client.call(
                .post, "/v1/organisation/admins",
                body: CoordinatorAPI.SignedStatement(statement: link)
            ).answer
            let token = try await apiToken(for: key, session)
            guard let root = trust.verifier.anchors.anchors.last?.key else {
                throw Failure.failed("there is no root")
            }
            let invitation = AdminInvitation(
                root: root, link: link, coordinator: session.login.coordinator,
                pin: session.login.serverPin, apiToken: token)
            return (admin, invitation)
        }
        if output.json {
            try Console.output(try APIJSON.encodePretty(admin))
            return
        }
        try Console.output(invitation.text)
        Console.error(
            invitation.apiToken == nil
                ? "note: hand this line over for `branchline admin accept`; the new admin logs in "
                    + "with a token of its own"
                : "note: hand this line over in secret, for `branchline admin accept`: it holds an "
                    + "API token")
    }

    private func apiToken(
        for key: VerifyingKey, _ session: AdminSession
    ) async throws -> String? {
        guard !noAPIToken, !output.json, scope.tenants.count == 1 else { return nil }
        let request = CoordinatorAPI.APITokenRequest(
            name: "admin \(key.base64URL.prefix(8))", role: .securityAdmin,
            tenant: scope.tenants[0].text, expiresAt: session.now + scope.days * 86_400)
        let answer: CoordinatorAPI.APITokenSecret = try await session.client.call(
            .post, "/v1/api-tokens", body: request
        ).answer
        return answer.secret
    }
}

struct AdminAccept: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept",
        abstract: "Take over what `admin add` or `admin renew` printed for this machine's key.",
        discussion: """
            Read from standard input, as it may hold a secret. For example:

              branchline admin accept < line.txt
            """)

    @Argument(help: "The line; left out or -, it is read from standard input.")
    var line: String = "-"

    func run() throws {
        let folder = try AdminFolder()
        var bytes = line == "-"
            ? try Console.input(bytesMax: TrustLimits.joinTextBytesMax) : Array(line.utf8)
        let text = String(decoding: bytes, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
        bytes.wipe()
        guard let invitation = AdminInvitation(parsing: text) else {
            throw Failure.badInput(
                "that is not what `branchline admin add` prints; copy the whole line")
        }
        guard let key = try folder.publicKey(.adminKey) else {
            throw Failure.failed(
                "there is no key in \(folder.path); run `branchline admin request` first, and hand "
                    + "over what it prints")
        }
        let now = Int64(Date().timeIntervalSince1970)
        let old = try Login(folder)
        let anchors = old?.anchors ?? RootAnchors(root: invitation.root)
        let authority: Authority
        do throws(Refusal) {
            authority = try Authority(
                link: invitation.link, verifier: Verifier(anchors: anchors), at: now)
        } catch {
            throw Failure(coordinator: error) ?? .failed("\(error)")
        }
        guard authority.admin.key == key else {
            throw Failure.badInput(
                "the line is for the key \(authority.admin.key), but here is \(key)")
        }
        var login = old ?? Login(
            coordinator: invitation.coordinator, pin: invitation.pin, apiToken: nil,
            root: invitation.root)
        if let token = invitation.apiToken { login.apiToken = token }
        try folder.write(.adminLink, text: invitation.link)
        try login.save(folder)
        try Console.output(
            "this machine's key may sign until \(Text.time(authority.admin.validity.until))")
        if login.apiToken == nil {
            Console.error("note: log in with `branchline admin login`")
        }
    }
}

struct AdminRenew: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew",
        abstract: "Sign an admin's key again with the root key, with the scope that it has.",
        discussion: """
            Without a key, your own. For another admin's key a line for `branchline admin accept` \
            is printed. For example:

              branchline admin renew --days 365
            """)

    @Argument(help: "The admin's key; left out, your own.", transform: KeyText.read)
    var key: String?

    @Option(help: "How many days the key counts from now; 1096 at most.")
    var days: Int64 = 365

    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...TrustLimits.adminSecondsMax / 86_400).contains(days) else {
            throw ValidationError("--days goes from 1 to \(TrustLimits.adminSecondsMax / 86_400)")
        }
    }

    func run() async throws {
        let (admin, invitation, isOwn) = try await AdminSession.run { session in
            let own = try session.folder.publicKey(.adminKey)
            guard let key = try key.map(VerifyingKey.init(adminKey:)) ?? own else {
                throw Failure.failed("there is no admin's key here; name one")
            }
            let trust = try await session.trust(nil)
            var renewed = try trust.admin(key)
            let now = session.now
            guard let validity = Validity(from: now, until: now + days * 86_400) else {
                throw Failure.badInput("\(days) days are no validity")
            }
            renewed.validity = validity
            let link = try session.rootSigned(.admin(renewed), trust, passphrase)
            let admin: CoordinatorAPI.Admin = try await session.client.call(
                .post, "/v1/organisation/admins",
                body: CoordinatorAPI.SignedStatement(statement: link)
            ).answer
            if key == own { try session.folder.write(.adminLink, text: link) }
            let root = trust.verifier.anchors.anchors.last?.key ?? key
            let invitation = AdminInvitation(
                root: root, link: link, coordinator: session.login.coordinator,
                pin: session.login.serverPin, apiToken: nil)
            return (admin, invitation, key == own)
        }
        try output.print(admin) {
            isOwn
                ? "your key may sign until \(Text.time(admin.validUntil))\n"
                : invitation.text + "\n"
        }
    }
}

struct AdminRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Revoke an admin's key, and with it all that it signed.",
        discussion: """
            Nodes that this key let in are cut off everywhere. With the root key here, the root \
            signs the revocation; otherwise your own key does. For example:

              branchline admin revoke 3nRo...
            """)

    @Argument(
        help: "The admin's key, as `branchline admin show` lists it.", transform: KeyText.read)
    var key: String

    @OptionGroup var tenant: TenantOption
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        let key = try VerifyingKey(adminKey: key)
        try await AdminSession.run { session in
            let trust = try await session.trust(tenant.tenant)
            let admin = try trust.admin(key)
            let place = tenant.tenant.map { "in \($0)" } ?? "everywhere"
            try confirmation.confirm(
                "Revoke the admin's key \(key) \(place), and cut off all nodes that it let in?")
            let realm = tenant.tenant.map(RevocationList.Realm.tenant) ?? .organisation
            let revocation = admin.revocation(at: session.now)
            if session.folder.exists(.rootKey) {
                try await session.revokeByRoot([revocation], in: realm, trust, passphrase)
            } else {
                try await session.revoke([revocation], in: realm, trust, passphrase)
            }
        }
        try Console.output("revoked \(key)")
    }
}

extension VerifyingKey {
    init(adminKey text: String) throws {
        guard let key = VerifyingKey(base64URL: text) else {
            throw Failure.badInput(
                "\(text) is not an admin's key: 43 characters, as `branchline admin show` lists "
                    + "them")
        }
        self = key
    }
}

extension Trust {
    /// What the root last let an admin's key sign, even if that is over.
    func admin(_ key: VerifyingKey) throws -> AdminKey {
        let past = Verifier(anchors: verifier.anchors)
        let known = organisation.admins
            .filter { $0.key == key.base64URL }
            .compactMap {
                try? past.verifyAdmin(StatementChain([$0.statement]), at: $0.validFrom)
            }
            .filter { $0.key == key }
        guard let newest = known.max(by: { $0.validity.until < $1.validity.until }) else {
            throw Failure.failed("there is no admin's key \(key); see `branchline admin show`")
        }
        return newest
    }
}
