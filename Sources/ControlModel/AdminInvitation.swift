public import Cryptography

/// All that a new admin needs beside the own key: where the coordinator is, whom to believe, what
/// the root lets the key do, and possibly an API token, which makes it a secret.
///
/// `bli1~ROOT~STATEMENT~PIN~API-TOKEN~URL`; pin and API token may be empty.
public struct AdminInvitation: Hashable, Sendable {
    public var root: VerifyingKey
    /// The admin's key as the root signed it.
    public var link: String
    public var coordinator: String
    public var pin: ServerPin?
    public var apiToken: String?

    public init(
        root: VerifyingKey, link: String, coordinator: String, pin: ServerPin?, apiToken: String?
    ) {
        self.root = root
        self.link = link
        self.coordinator = coordinator
        self.pin = pin
        self.apiToken = apiToken
    }

    /// Reads what ``text`` writes. Nothing is verified yet.
    public init?(parsing text: String) {
        guard text.utf8.count <= TrustLimits.joinTextBytesMax else { return nil }
        // The address is last: it may hold tildes.
        let parts = text.split(separator: "~", maxSplits: 5, omittingEmptySubsequences: false)
            .map(String.init)
        guard parts.count == 6, parts[0] == Self.prefix,
            let root = VerifyingKey(base64URL: parts[1]), !parts[2].isEmpty, !parts[5].isEmpty
        else { return nil }
        let pin = ServerPin(base64URL: parts[3])
        guard pin != nil || parts[3].isEmpty else { return nil }
        self.init(
            root: root, link: parts[2], coordinator: parts[5], pin: pin,
            apiToken: parts[4].isEmpty ? nil : parts[4])
    }

    public var text: String {
        let fields = [root.base64URL, link, pin?.base64URL ?? "", apiToken ?? "", coordinator]
        return ([Self.prefix] + fields).joined(separator: "~")
    }

    private static var prefix: String { "bli1" }
}
