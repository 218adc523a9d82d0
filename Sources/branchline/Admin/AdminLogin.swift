import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import Foundation
import LinuxNetworking
import SystemPackage

struct AdminLogin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login",
        abstract: "Log in with an API token or an OIDC token.",
        discussion: """
            The token is read from a file or from standard input, never from the command line, \
            where others could see it. For example:

              branchline admin login --token-file token.txt
              get-oidc-token | branchline admin login

            On a machine without a login, name the coordinator and the organisation's root:

              branchline admin login --coordinator https://hq.example:8443 --pin ... --root ...
            """)

    @Option(
        help: ArgumentHelp("Read the token from a file.", valueName: "file"), completion: .file())
    var tokenFile: String?

    @Option(help: "Where the coordinator answers; for a first login.")
    var coordinator: String?

    @Option(
        help: "The fingerprint of the coordinator's key, where none of a public authority is.",
        transform: KeyText.read)
    var pin: String?

    @Option(
        help: "The organisation's root key; for a first login.", transform: KeyText.read)
    var root: String?

    func run() async throws {
        let folder = try AdminFolder()
        var login = try base(folder)
        let token = try readToken()
        let me: CoordinatorAPI.Identity = try await AdminSession.withClient(
            login.coordinator, login.serverPin, token
        ) { client in
            try await client.call(.get, "/v1/me").answer
        }
        login.apiToken = token
        try login.save(folder)
        let place = me.tenant.map { " in \($0)" } ?? ""
        try Console.output(
            Text.plain("logged in as \(me.actor), role \(me.role?.rawValue ?? "none")\(place)"))
    }

    private func base(_ folder: AdminFolder) throws -> Login {
        if var login = try Login(folder) {
            if let coordinator { login.coordinator = coordinator }
            if let pin { login.pin = try AdminInit.serverPin(pin)?.base64URL }
            if let root, login.roots.last?.key != root {
                throw Failure.failed(
                    "\(folder.path(.login)) knows another root; set BRANCHLINE_CONFIG to another "
                        + "folder for another organisation")
            }
            return login
        }
        guard let coordinator, let root else {
            throw Failure.badInput(
                "this is the first login here; give --coordinator, --root and, without a public "
                    + "certificate, --pin; `branchline admin show` prints the root elsewhere")
        }
        guard let key = VerifyingKey(base64URL: root) else {
            throw Failure.badInput("\(root) is not a root key: 43 characters")
        }
        return Login(
            coordinator: coordinator, pin: try AdminInit.serverPin(pin), apiToken: nil, root: key)
    }

    private func readToken() throws -> String {
        var bytes: [UInt8]
        if let tokenFile {
            bytes = try InputFile.bytes(tokenFile, bytesMax: Self.tokenBytesMax)
        } else if Terminal.isTerminal(.standardInput) {
            bytes = try PassphraseOptions.ask("Token: ")
        } else {
            bytes = try Console.input(bytesMax: Self.tokenBytesMax)
        }
        defer { bytes.wipe() }
        return String(decoding: bytes, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static let tokenBytesMax = 16 << 10
}

struct AdminLogout: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout",
        abstract: "Forget the API token on this machine; keys stay.",
        discussion: """
            The token itself lives on until it is deleted with `branchline admin api-token delete` \
            or expires. Log in again with a copy of it, or with another one: when no owner's token \
            is left, `branchline-coordinator owner-token` on the coordinator's machine makes one. \
            For example:

              branchline admin logout
            """)

    @OptionGroup var confirmation: ConfirmOptions

    /// How to come back in without any token.
    static let recovery =
        "`branchline-coordinator owner-token` on the coordinator's machine makes a new one"

    func run() throws {
        let folder = try AdminFolder()
        guard var login = try Login(folder), let token = login.apiToken else {
            throw Failure.failed("nobody is logged in in \(folder.path)")
        }
        // Tokens of another issuer are fetched anew at each login.
        if token.hasPrefix("bla_") {
            try confirmation.confirm(
                "Forget the API token? Unless you keep a copy, it is stored nowhere else. If it "
                    + "is the last owner's token, \(Self.recovery).")
        }
        login.apiToken = nil
        try login.save(folder)
        try Console.output("logged out of \(login.coordinator)")
    }
}
