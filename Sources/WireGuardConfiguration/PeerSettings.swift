public import Cryptography
public import PacketFormats

/// One peer of a `set=1` request. A field that is `nil` leaves its setting unchanged.
public struct PeerSettings: Sendable {
    /// A prefix to give to the peer or to take from it.
    public enum AllowedIPChange: Hashable, Sendable {
        /// Moves the prefix here if another peer has it.
        case add(IPPrefix)
        /// Lets the peer have the prefix together with others who share it; written as text it is
        /// the same as `add`. Moves it here if another peer has it alone.
        case share(IPPrefix)
        /// Does nothing if the peer does not have it.
        case remove(IPPrefix)
    }

    /// How much the peer is wanted among those that share prefixes with it.
    public struct Preference: Hashable, Sendable {
        /// How well the way through the peer works: 0 is best, and only the best ones serve.
        public var level: UInt8
        /// New flows go to the lowest number.
        public var priority: UInt16
        /// Share of new flows among peers of one priority; 0 for none.
        public var weight: UInt16

        public init(level: UInt8, priority: UInt16, weight: UInt16) {
            self.level = level
            self.priority = priority
            self.weight = weight
        }
    }

    public var publicKey: PublicKey
    /// Removes the peer; the other fields then mean nothing.
    public var remove: Bool
    /// Does nothing if the peer does not exist.
    public var updateOnly: Bool
    /// Takes the place of `publicKey`; all else of the peer stays, sessions included. Refused if
    /// another peer or the interface itself has it.
    public var successorKey: PublicKey?
    public var presharedKey: SecretChange<PresharedKey>?
    /// What the peer speaks; another one than before ends its sessions.
    public var profile: TunnelProfile?
    public var endpoint: Endpoint?
    /// Has no text.
    public var preference: Preference?
    /// In seconds; 0 turns it off.
    public var persistentKeepaliveSeconds: UInt16?
    /// Takes all prefixes from the peer before `allowedIPs` are applied.
    public var replaceAllowedIPs: Bool
    /// In the order of the request.
    public var allowedIPs: [AllowedIPChange]

    public init(
        publicKey: PublicKey, remove: Bool = false, updateOnly: Bool = false,
        successorKey: PublicKey? = nil, presharedKey: SecretChange<PresharedKey>? = nil,
        profile: TunnelProfile? = nil, endpoint: Endpoint? = nil,
        persistentKeepaliveSeconds: UInt16? = nil, replaceAllowedIPs: Bool = false,
        allowedIPs: [AllowedIPChange] = [], preference: Preference? = nil
    ) {
        self.publicKey = publicKey
        self.remove = remove
        self.updateOnly = updateOnly
        self.successorKey = successorKey
        self.presharedKey = presharedKey
        self.profile = profile
        self.endpoint = endpoint
        self.persistentKeepaliveSeconds = persistentKeepaliveSeconds
        self.replaceAllowedIPs = replaceAllowedIPs
        self.allowedIPs = allowedIPs
        self.preference = preference
    }
}
