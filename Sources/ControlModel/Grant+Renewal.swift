import Cryptography

extension VerifiedGrant {
    /// The same node again, with the WireGuard key that it uses and a validity from now on.
    ///
    /// - Parameter now: In Unix seconds.
    /// - Parameter revokedSerial: Up to which the node's grants do not count; 0 for none.
    /// - Parameter seconds: How long the new grant counts.
    /// - Returns: `nil` where that is not possible, as for 0 seconds.
    public func renewed(at now: Int64, above revokedSerial: Int64, seconds: Int64) -> Grant? {
        // The numbers of a node grow, and are never ahead of the grant's first second.
        let serial = max(now, max(grant.serial, revokedSerial) + 1)
        guard let validity = Validity(from: serial, until: serial + seconds) else { return nil }
        var renewed = grant
        renewed.serial = serial
        renewed.publicKey = publicKey
        renewed.token = nil
        renewed.validity = validity
        return renewed
    }
}
