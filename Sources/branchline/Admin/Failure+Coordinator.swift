import ControlModel
import CoordinatorClient

extension Failure {
    /// What a coordinator, the way to it or a statement's check said, and what to do next.
    ///
    /// - Returns: `nil` for errors of other kinds.
    init?(coordinator error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let fault as ClientFault: self = Self.failure(of: fault)
        case let problem as CoordinatorAPI.Problem: self = Self.failure(of: problem)
        case let refusal as Refusal: self = Self.failure(of: refusal)
        case is CancellationError: self = .failed("interrupted")
        default: return nil
        }
    }

    private static func failure(of fault: ClientFault) -> Failure {
        switch fault {
        case .invalidAddress, .invalidCredential: .badInput("\(fault)")
        default: .failed("\(fault)")
        }
    }

    private static func failure(of problem: CoordinatorAPI.Problem) -> Failure {
        let detail = problem.detail.isEmpty ? problem.title : problem.detail
        var message = "the coordinator refused: \(detail)"
        if let advice = advice(for: problem) { message += "; \(advice)" }
        for failure in problem.failures ?? [] { message += "\n  \(failure)" }
        switch CoordinatorAPI.Reason(rawValue: problem.reason) {
        case .invalidRequest, .policyTestsFailed: return .badInput(message)
        default: return .failed(message)
        }
    }

    private static func advice(for problem: CoordinatorAPI.Problem) -> String? {
        guard let reason = CoordinatorAPI.Reason(rawValue: problem.reason) else {
            return "it does not believe a signed statement; see `branchline admin show` "
                + "(\(problem.reason))"
        }
        return switch reason {
        case .unauthenticated:
            "log in with `branchline admin login`, with a token that is neither over nor deleted"
        case .forbidden:
            "`branchline admin show` tells the role that you have"
        case .notFound: advice(forMissing: problem.detail)
        case .revisionMismatch: "somebody else changed it meanwhile; look at it, then try again"
        case .poolExhausted: "give the tenant another pool with `branchline tenant pool add`"
        case .notSetUp: "set it up with `branchline admin init`"
        case .rateLimited: "wait a little, then try again"
        case .storageUnavailable, .internal, .timedOut: "its log says more; try again later"
        case .bodyTooLarge, .limitReached, .unsupportedMediaType, .methodNotAllowed,
            .invalidRequest, .alreadyExists, .revisionRequired, .poolOverlap, .inUse,
            .tokenUnknown, .tokenUsed, .nodeRevoked, .nodeSuspended, .policyTestsFailed,
            .statementRefused, .revocationsBehind:
            nil
        }
    }

    /// Where the names are that there are, by what the coordinator says is missing.
    private static func advice(forMissing detail: String) -> String? {
        let lists = [
            ("API token", "admin api-token list"), (" token", "token list"),
            ("group", "group list"), ("pool", "tenant show"), ("node", "node list"),
            ("admin", "admin show"), ("tenant", "tenant list"),
        ]
        return lists.first { detail.contains($0.0) }.map { "see `branchline \($0.1)`" }
    }

    private static func failure(of refusal: Refusal) -> Failure {
        .failed("\(explanation(of: refusal.reason)) (\(refusal))")
    }

    private static func explanation(of reason: Refusal.Reason) -> String {
        switch reason {
        case .unknownIssuer, .signatureInvalid, .keyNotAllowed, .rolloverConflict, .chainEmpty,
            .notCompact, .notBase64URL, .notJSON, .notCanonical, .wrongType, .wrongVersion,
            .duplicateKey, .mixedTenant, .unknownField, .algorithmNotAllowed, .headerNotAllowed:
            "the coordinator hands out a statement that nobody in this organisation signed; do "
                + "not go on before you know why"
        case .revocationListBackwards, .revocationListConflict, .revocationListShrunk,
            .revocationListStale:
            "the coordinator hands out an older or shorter revocation list than it did before; "
                + "it may have been restored from a backup, or taken over"
        case .adminRevoked:
            "the admin's key was revoked; have another one signed with `branchline admin request`"
        case .expired, .rootRetired:
            "a key or statement is over; renew the admin's key with `branchline admin renew`, a "
                + "node with `branchline node renew`"
        case .notYetValid, .numberAhead:
            "a statement is from the future; compare this clock with the other machine's"
        case .tenantOutOfScope, .roleOutOfScope, .profileOutOfScope, .classOutOfScope,
            .addressOutOfScope, .routeOutOfScope, .groupOutOfScope, .validityTooLong:
            "the admin's key may not sign this; `branchline admin show` tells what it may"
        case .nodeRevoked, .keyRevoked, .tokenRevoked:
            "it was revoked; let the node join anew with a new token"
        case .tooLarge, .missingField, .invalidField, .chainTooLong, .notAJoinText, .seedMismatch,
            .tokenMismatch, .issuedOutsideToken, .approvalRequired, .tokenReplayed, .superseded,
            .serialReused, .keyInUse, .memoryFull:
            "this cannot be signed or believed"
        }
    }
}
