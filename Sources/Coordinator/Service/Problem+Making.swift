public import ControlModel

/// The problems that the coordinator reports, each with its HTTP status.
extension CoordinatorAPI.Problem {
    public static func invalidRequest(_ detail: String) -> Self {
        Self(.invalidRequest, status: 400, detail: detail)
    }

    public static func unauthenticated(_ detail: String) -> Self {
        Self(.unauthenticated, status: 401, detail: detail)
    }

    public static func forbidden(_ detail: String) -> Self {
        Self(.forbidden, status: 403, detail: detail)
    }

    public static func notFound(_ detail: String) -> Self {
        Self(.notFound, status: 404, detail: detail)
    }

    public static func alreadyExists(_ detail: String) -> Self {
        Self(.alreadyExists, status: 409, detail: detail)
    }

    public static func inUse(_ detail: String) -> Self {
        Self(.inUse, status: 409, detail: detail)
    }

    public static func poolExhausted(_ detail: String) -> Self {
        Self(.poolExhausted, status: 409, detail: detail)
    }

    public static func poolOverlap(_ detail: String) -> Self {
        Self(.poolOverlap, status: 409, detail: detail)
    }

    public static func limitReached(_ detail: String) -> Self {
        Self(.limitReached, status: 409, detail: detail)
    }

    public static func notSetUp() -> Self {
        Self(
            .notSetUp, status: 409,
            detail: "this coordinator has no organisation yet: run branchline admin init with "
                + "its set-up code")
    }

    public static func revisionRequired(_ what: String) -> Self {
        Self(
            .revisionRequired, status: 428,
            detail: "send If-Match with the ETag of the \(what) that you read")
    }

    public static func revisionMismatch(_ what: String, current: Int64) -> Self {
        Self(
            .revisionMismatch, status: 412,
            detail: "the \(what) is at revision \(current) now: read it again, then repeat the "
                + "change")
    }

    public static func tokenUnknown() -> Self {
        Self(
            .tokenUnknown, status: 403,
            detail: "no such enrolment token is registered here: ask for a new join string")
    }

    public static func tokenUsed() -> Self {
        Self(
            .tokenUsed, status: 409,
            detail: "this enrolment token was used: ask for a new join string")
    }

    public static func nodeRevoked() -> Self {
        Self(.nodeRevoked, status: 403, detail: "this node was revoked: it must join anew")
    }

    public static func nodeSuspended(_ detail: String) -> Self {
        Self(.nodeSuspended, status: 403, detail: detail)
    }

    public static func policyTestsFailed(_ failures: [String]) -> Self {
        Self(
            .policyTestsFailed, status: 422,
            detail: "the policy contradicts its own tests; nothing was changed",
            failures: failures)
    }

    public static func revocationsBehind(_ number: Int64, reported: Int64) -> Self {
        Self(
            .revocationsBehind, status: 409,
            detail: "nodes have revocation list \(reported) and would refuse list \(number): this "
                + "coordinator lost newer lists, probably by a restored backup. Let an admin "
                + "whose tool has list \(reported) publish it, or sign one with a higher number "
                + "that repeats its entries")
    }

    public static func storageUnavailable(_ detail: String) -> Self {
        Self(.storageUnavailable, status: 503, detail: detail)
    }

    public static func `internal`(_ detail: String) -> Self {
        Self(.internal, status: 500, detail: detail)
    }

    /// A statement that is not believed; the reason is the refusal's own.
    public static func refused(_ refusal: Refusal) -> Self {
        Self(
            reason: refusal.reason.rawValue, title: CoordinatorAPI.Reason.statementRefused.title,
            status: 422, detail: refusal.description)
    }
}
