/// What one configuration text may hold; larger input is refused before it is stored.
public enum ConfigurationLimits {
    /// Peers of one interface.
    public static let peersMax = 65_536
    /// A peer's lines with both keys, an endpoint and a few allowed IPs, in bytes.
    static let peerBytesTypical = 512
    /// One request, answer or configuration file, in bytes.
    public static let textBytesMax = peersMax * peerBytesTypical
    /// One line without its end, in bytes. Longer lists of prefixes go on several lines.
    public static let lineBytesMax = 65_536
    /// Prefixes of one peer.
    public static let allowedIPsMax = 65_536
    /// Input that an error may repeat, in characters: fewer than any written form of a key, so
    /// that a key pasted into the wrong place is not shown.
    static let quotedCharactersMax = 40
}
