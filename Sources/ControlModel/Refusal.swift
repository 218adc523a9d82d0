/// Why something signed is not believed.
public struct Refusal: Error, Hashable, Sendable {
    public let reason: Reason
    /// For people: what was found and what was wanted. Holds no secret, and is bounded.
    public let detail: String

    public init(_ reason: Reason, _ detail: String = "") {
        self.reason = reason
        self.detail = detail
    }

    /// A stranger's text, fit for logs: its first 64 printable ASCII characters.
    static func excerpt(of text: String) -> String {
        let plain = text.utf8.lazy.filter { (0x20..<0x7f).contains($0) }
        return String(decoding: plain.prefix(64), as: UTF8.self)
    }

    /// Names for counters, interfaces and tests; they never change their meaning.
    public enum Reason: String, CaseIterable, Hashable, Sendable {
        // The text itself.
        case tooLarge, notCompact, notBase64URL, notJSON, notCanonical
        case missingField, unknownField, invalidField
        case algorithmNotAllowed, headerNotAllowed, wrongType, wrongVersion

        // Who signed what.
        case chainEmpty, chainTooLong, unknownIssuer, keyNotAllowed, signatureInvalid
        case duplicateKey, mixedTenant

        // When.
        case notYetValid, expired, validityTooLong, rootRetired, rolloverConflict

        // How far the signer's authority goes.
        case tenantOutOfScope, roleOutOfScope, profileOutOfScope, classOutOfScope
        case addressOutOfScope, routeOutOfScope, groupOutOfScope

        // What was taken back.
        case adminRevoked, tokenRevoked, nodeRevoked, keyRevoked
        case revocationListBackwards, revocationListConflict, revocationListShrunk
        case revocationListStale, numberAhead

        // Joining.
        case notAJoinText, seedMismatch, tokenMismatch, issuedOutsideToken, approvalRequired
        case tokenReplayed

        // What contradicts what was seen before.
        case superseded, serialReused, keyInUse, memoryFull
    }
}

extension Refusal: CustomStringConvertible {
    public var description: String {
        detail.isEmpty ? reason.rawValue : "\(reason.rawValue): \(detail)"
    }
}
