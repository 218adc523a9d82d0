/// Signed texts, each of which says who may sign the next; the root signs the first.
///
/// Unverified: the links are only texts until a ``Verifier`` has gone through all of them.
public struct StatementChain: Hashable, Sendable {
    public let links: [String]

    public init(_ links: [String]) { self.links = links }

    /// Reads what `text` writes.
    public init(parsing text: String) throws(Refusal) {
        let bytesMax = TrustLimits.revocationListBytesMax + TrustLimits.statementBytesMax
        guard text.utf8.count <= bytesMax else { throw Refusal(.tooLarge, "chain") }
        let links = text.split(
            separator: Self.separator, maxSplits: TrustLimits.chainLinksMax,
            omittingEmptySubsequences: false)
        self.init(links.map(String.init))
    }

    /// The links with `~` between them.
    public var text: String { links.joined(separator: String(Self.separator)) }

    /// The last link of a chain's text; `nil` where there is none.
    public static func lastLink(of text: String) -> String? {
        text.split(separator: separator).last.map(String.init)
    }

    public func appending(_ link: String) -> StatementChain { StatementChain(links + [link]) }

    /// Not in any link's alphabet, and fit for URLs and shells.
    static var separator: Character { "~" }
}
