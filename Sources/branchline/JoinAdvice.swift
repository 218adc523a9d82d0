import ControlModel

/// What to do about a token that does not let a node in.
enum JoinAdvice {
    static func words(for refusal: Refusal) -> String {
        switch refusal.reason {
        case .expired, .issuedOutsideToken:
            "the token has expired (\(refusal.detail)); ask the security admin for a new one"
        case .notYetValid:
            "the token does not count yet (\(refusal.detail)); check this machine's clock"
        case .notAJoinText, .tooLarge, .notCompact, .notBase64URL, .notJSON:
            "that is not a token (\(refusal)); give all of what `branchline token create` "
                + "printed, which begins with bl1~"
        case .seedMismatch, .signatureInvalid, .unknownIssuer, .notCanonical:
            "the token was changed on its way (\(refusal)); ask the security admin for a new one, "
                + "and have it sent another way"
        case .tokenRevoked, .adminRevoked:
            "the token was revoked (\(refusal)); ask the security admin for a new one"
        case .profileOutOfScope:
            "the token is for no profile that this version has (\(refusal.detail)); ask the "
                + "security admin for a new one"
        default: "the token does not let this node in: \(refusal)"
        }
    }

    static func words(for problem: CoordinatorAPI.Problem, _ token: EnrolmentToken) -> String {
        switch problem.reason {
        case CoordinatorAPI.Reason.tokenUsed.rawValue, Refusal.Reason.tokenReplayed.rawValue:
            "the token was used already; if not by you, tell the security admin to revoke that "
                + "node, and ask for a new token"
        case CoordinatorAPI.Reason.tokenUnknown.rawValue:
            "the coordinator at \(token.coordinator) does not know the token, or it was "
                + "withdrawn; ask the security admin for a new one"
        case Refusal.Reason.expired.rawValue:
            "the token has expired; ask the security admin for a new one"
        case Refusal.Reason.tokenRevoked.rawValue:
            "the token was revoked; ask the security admin for a new one"
        case CoordinatorAPI.Reason.rateLimited.rawValue:
            "the coordinator is asked too often; try again in a minute"
        default: "the coordinator refuses: \(problem.detail) (\(problem.reason))"
        }
    }
}
