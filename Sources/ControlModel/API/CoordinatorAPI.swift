/// The messages of the coordinator's HTTPS interface, version 1.
///
/// JSON with members in snake case (``APIJSON``); times are Unix seconds, keys are the texts that
/// statements use: base64url for signing keys, base64 for WireGuard keys. The paths are described
/// in the coordinator's `openapi.json`.
public enum CoordinatorAPI {}

extension CoordinatorAPI {
    /// Where version 1 lives.
    public static var prefix: String { "/v1" }

    /// An error. RFC 9457, `application/problem+json`.
    public struct Problem: Codable, Error, Hashable, Sendable {
        /// For programs; never changes its meaning. A ``Refusal/Reason`` where a statement is
        /// refused, otherwise a ``Reason``.
        public var reason: String
        public var title: String
        public var status: Int
        /// For people: what was wrong and what to do.
        public var detail: String
        /// Which tests of a policy failed, and the like.
        public var failures: [String]?

        public init(
            _ reason: Reason, status: Int, detail: String, failures: [String]? = nil
        ) {
            self.init(
                reason: reason.rawValue, title: reason.title, status: status, detail: detail,
                failures: failures)
        }

        public init(
            reason: String, title: String, status: Int, detail: String, failures: [String]? = nil
        ) {
            self.reason = reason
            self.title = title
            self.status = status
            self.detail = detail
            self.failures = failures
        }
    }

    public enum Reason: String, CaseIterable, Hashable, Sendable {
        case invalidRequest = "invalid_request"
        case unsupportedMediaType = "unsupported_media_type"
        case bodyTooLarge = "body_too_large"
        case timedOut = "timed_out"
        case unauthenticated
        case forbidden
        case notFound = "not_found"
        case methodNotAllowed = "method_not_allowed"
        case alreadyExists = "already_exists"
        /// Somebody else changed it since it was read.
        case revisionMismatch = "revision_mismatch"
        case revisionRequired = "revision_required"
        case poolExhausted = "pool_exhausted"
        case poolOverlap = "pool_overlap"
        case inUse = "in_use"
        case tokenUnknown = "token_unknown"
        case tokenUsed = "token_used"
        case nodeRevoked = "node_revoked"
        case nodeSuspended = "node_suspended"
        case policyTestsFailed = "policy_tests_failed"
        case statementRefused = "statement_refused"
        case notSetUp = "not_set_up"
        /// Nodes believe a newer revocation list than the one that was sent.
        case revocationsBehind = "revocations_behind"
        case limitReached = "limit_reached"
        case rateLimited = "rate_limited"
        case storageUnavailable = "storage_unavailable"
        case `internal`

        /// For people, in one line.
        public var title: String {
            rawValue.replacing("_", with: " ").capitalizedFirst
        }
    }
}

extension String {
    fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
