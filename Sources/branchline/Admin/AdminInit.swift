import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import Foundation
import PacketFormats

/// Makes the organisation, serially:
///
/// 1. Make and write the root key and the first admin's key, or open those of an attempt that
///    broke off.
/// 2. The root signs the admin's key.
/// 3. The coordinator takes both, for its set-up code, and gives the owner's API token.
/// 4. Write the login.
struct AdminInit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make an organisation: its root key, the first admin's key, and the login.",
        discussion: """
            The coordinator prints its set-up code and its pin when it starts for the first time. \
            Keep a copy of the root key elsewhere, such as on a stick in a safe. For example:

              branchline admin init https://hq.example:8443 --setup-code bls_... --pin ...
            """)

    @Argument(help: "Where the coordinator answers, such as https://hq.example:8443.")
    var url: String

    @Option(help: "The coordinator's one-time set-up code; asked for if left out.")
    var setupCode: String?

    @Option(
        help: """
            The fingerprint of the coordinator's key, as it printed it; without it, a public \
            certificate authority must vouch for it.
            """, transform: KeyText.read)
    var pin: String?

    @Flag(help: "Keep the keys without a passphrase, readable by their owner only.")
    var noPassphrase = false

    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var scope: AdminScopeOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let folder = try AdminFolder()
        guard try Login(folder) == nil else {
            throw Failure.failed(
                "\(folder.path) holds the login of an organisation already; set BRANCHLINE_CONFIG "
                    + "to another folder for another one")
        }
        for file in [.rootKey, .adminKey] as [AdminFolder.File] {
            try checkProtection(of: file, folder)
        }
        let pin = try Self.serverPin(pin)
        let code = try setupCode ?? Self.askForCode()
        let now = Int64(Date().timeIntervalSince1970)
        var secret: [UInt8]?
        if !noPassphrase, !folder.exists(.rootKey) || !folder.exists(.adminKey) {
            secret = try passphrase.readNew()
        }
        defer { secret?.wipe() }
        let root = try key(.rootKey, folder, secret)
        let admin = try key(.adminKey, folder, secret)
        let link = try signed(admin.verifyingKey, by: root, at: now)
        try folder.write(.adminLink, text: link)
        let setup = CoordinatorAPI.OrganisationSetup(
            setupCode: code, root: root.verifyingKey.base64URL, admin: link,
            tokenName: environment("USER").map { "owner (\($0))" } ?? "owner")
        let answer = try await AdminSession.withClient(url, pin, nil) { client in
            do {
                let answer: CoordinatorAPI.APITokenSecret = try await client.call(
                    .post, "/v1/organisation", body: setup
                ).answer
                return answer
            } catch let problem as CoordinatorAPI.Problem where problem.status == 401 {
                throw Failure.failed("the coordinator refused: \(problem.detail)")
            }
        }
        let login = Login(
            coordinator: url, pin: pin, apiToken: answer.secret, root: root.verifyingKey)
        try login.save(folder)
        try output.print(answer.token) { text(folder, root.verifyingKey) }
    }

    private func text(_ folder: AdminFolder, _ root: VerifyingKey) -> String {
        """
        The organisation is set up. Its keys are in \(folder.path):
          \(AdminFolder.File.rootKey.rawValue)   signs admins; keep a copy elsewhere, and consider \
        removing it from here
          \(AdminFolder.File.adminKey.rawValue)  signs nodes, tokens and revocations
        root key: \(root)
        Next: branchline tenant add NAME --pool 10.64.0.0/16

        """
    }

    private func signed(
        _ admin: VerifyingKey, by root: borrowing SigningKey, at now: Int64
    ) throws -> String {
        do throws(Refusal) {
            return try scope.statement(of: admin, at: now).signed(by: root)
        } catch {
            throw Failure(coordinator: error) ?? .failed("\(error)")
        }
    }

    /// A key that is there already was made with a passphrase or without one; another wish than
    /// that is not passed over.
    private func checkProtection(of file: AdminFolder.File, _ folder: AdminFolder) throws {
        guard let isSealed = try folder.isSealed(file), isSealed == noPassphrase else { return }
        let advice =
            isSealed
            ? "has a passphrase; leave --no-passphrase away"
            : "has no passphrase; give --no-passphrase"
        throw Failure.failed(
            "\(folder.path(file)) is there already, from an attempt that broke off, and \(advice) "
                + "to go on with it, or move root.key and admin.key out of \(folder.path) for new "
                + "keys")
    }

    private func key(
        _ file: AdminFolder.File, _ folder: AdminFolder, _ secret: [UInt8]?
    ) throws -> SigningKey {
        if folder.exists(file) {
            Console.error("note: \(folder.path(file)) is there already, and is used")
            return try folder.openKey(file, passphrase)
        }
        let key = SigningKey.generate()
        try folder.writeKey(key, to: file, passphrase: secret)
        return key
    }

    static func serverPin(_ text: String?) throws -> ServerPin? {
        guard let text else { return nil }
        guard let pin = ServerPin(base64URL: text) else {
            throw Failure.badInput(
                "\(text) is not a pin: 43 characters, as the coordinator printed them")
        }
        return pin
    }

    private static func askForCode() throws -> String {
        var code = try PassphraseOptions.ask("Set-up code of the coordinator: ")
        defer { code.wipe() }
        return String(decoding: code, as: UTF8.self).trimmingCharacters(in: .whitespaces)
    }
}

extension AdminScopeOptions {
    /// What the root signs.
    func statement(of key: VerifyingKey, at now: Int64) throws(Refusal) -> Statement {
        let until = now + days * 86_400
        guard let validity = Validity(from: now, until: until) else {
            throw Refusal(.invalidField, "\(days) days")
        }
        return .admin(
            AdminKey(
                key: key, tenants: tenants.isEmpty ? .all : .only(Set(tenants)),
                roles: Set(roles.isEmpty ? Role.allCases : roles),
                profiles: Set(TunnelProfile.allCases), ceiling: ceiling, grantSeconds: grantFor,
                mayRevoke: !noRevoke, validity: validity))
    }
}
