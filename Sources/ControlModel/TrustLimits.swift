/// What bounds statements, chains and what a verifier remembers.
public enum TrustLimits {
    /// Versions of statements that this code reads and writes: one.
    public static var version: Int64 { 1 }

    // Sizes in bytes of text.
    public static var headerBytesMax: Int { 256 }
    public static var statementBytesMax: Int { 16 << 10 }
    /// About 12,000 entries; larger lists drop what has expired.
    public static var revocationListBytesMax: Int { 2 << 20 }
    public static var joinTextBytesMax: Int { 64 << 10 }

    // Counts.
    /// An admin's key, a token, a grant and a rotation.
    public static var chainLinksMax: Int { 4 }
    /// The current root and those that it followed.
    public static var anchorsMax: Int { 5 }
    public static var tenantsMax: Int { 256 }
    public static var addressesMax: Int { 16 }
    public static var routesMax: Int { 64 }
    public static var groupsMax: Int { 32 }
    public static var revocationsMax: Int { 16_384 }
    /// Nodes, tokens and keys that a verifier remembers, of each.
    public static var rememberedMax: Int { 65_536 }

    // Durations in seconds.
    public static var skewSecondsDefault: Int64 { 120 }
    public static var skewSecondsMax: Int64 { 600 }
    public static var rolloverSecondsMax: Int64 { 3650 * day }
    public static var adminSecondsMax: Int64 { 1096 * day }
    public static var grantSecondsMax: Int64 { 398 * day }
    public static var tokenSecondsMax: Int64 { 90 * day }

    /// The last second of the year 9999.
    public static var timeMax: Int64 { 253_402_300_799 }
    /// Integers that every JSON implementation keeps exactly. RFC 8259, section 6.
    public static var integerMax: Int64 { 1 << 53 - 1 }

    private static var day: Int64 { 86_400 }
}
