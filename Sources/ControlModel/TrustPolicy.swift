/// What a verifier may decide for itself.
public struct TrustPolicy: Hashable, Sendable {
    /// How far the signer's clock and this one may be apart.
    public let skewSeconds: Int64
    /// How old the newest revocation list may be before grants are refused; `nil` accepts any
    /// age, so that a network lives on while its coordinator is away.
    public let revocationAgeSecondsMax: Int64?

    /// - Returns: `nil` for a skew outside of 0 to 600 seconds, or a negative age.
    public init?(
        skewSeconds: Int64 = TrustLimits.skewSecondsDefault, revocationAgeSecondsMax: Int64? = nil
    ) {
        guard (0...TrustLimits.skewSecondsMax).contains(skewSeconds),
            revocationAgeSecondsMax ?? 0 >= 0
        else { return nil }
        self.skewSeconds = skewSeconds
        self.revocationAgeSecondsMax = revocationAgeSecondsMax
    }

    /// 120 seconds of skew, revocation lists of any age.
    public init() {
        skewSeconds = TrustLimits.skewSecondsDefault
        revocationAgeSecondsMax = nil
    }
}
