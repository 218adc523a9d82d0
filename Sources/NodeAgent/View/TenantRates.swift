/// What a tenant is promised, and may use at most, at a gateway: a policy's word, in bits per
/// second, where the gateway's own files have none.
public struct TenantRates: Hashable, Sendable {
    public var minimum: Int64?
    public var maximum: Int64?

    public init(minimum: Int64? = nil, maximum: Int64? = nil) {
        self.minimum = minimum
        self.maximum = maximum
    }
}
