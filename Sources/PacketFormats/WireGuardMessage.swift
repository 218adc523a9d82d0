public import PacketMemory

/// The four messages of the WireGuard protocol, and those of profile `branchline`: types, sizes and
/// where their fields lie.
///
/// The two families differ in the first reserved byte and in the handshake's two messages. Indices,
/// cookie replies and transport data have the same form and place in both.
///
/// All integers are little-endian. Source: WireGuard paper, sections 5.4.2 to 5.4.7; for profile
/// `branchline` the article ProfileBranchline of module WireGuardProtocol.
public enum WireGuardMessage {
    public enum Kind: UInt32, CaseIterable, Sendable {
        case initiation = 1
        case response = 2
        case cookieReply = 3
        case transportData = 4
    }

    /// Whose messages they are: the number in the first reserved byte.
    public enum Family: UInt8, CaseIterable, Sendable {
        case wireguard = 0
        /// Hybrid handshake; see ``TunnelProfile``.
        case branchline = 1
    }

    /// Why a datagram is none of the four.
    public enum Fault: UInt8, CaseIterable, Sendable {
        case tooShort
        case unknownType
        case wrongLength
    }

    public enum Classification: Equatable, Sendable {
        case message(Kind)
        case invalid(Fault)
    }

    /// Tells by type and size which message a datagram claims to be; nothing is authenticated yet.
    ///
    /// The three reserved bytes count as part of the type: the first is the family's number, the
    /// others must be zero. ``family(of:)`` tells the family of a message.
    @inlinable
    public static func type(of datagram: ByteRegion) -> Classification {
        guard datagram.count >= 4 else { return .invalid(.tooShort) }
        switch datagram.littleEndian32(at: typeOffset) {
        case 4, 0x104:
            return datagram.count >= TransportData.overhead
                ? .message(.transportData) : .invalid(.wrongLength)
        case 1:
            return datagram.count == Initiation.count
                ? .message(.initiation) : .invalid(.wrongLength)
        case 2:
            return datagram.count == Response.count
                ? .message(.response) : .invalid(.wrongLength)
        case 3, 0x103:
            return datagram.count == CookieReply.count
                ? .message(.cookieReply) : .invalid(.wrongLength)
        case 0x101:
            return datagram.count == HybridInitiation.count
                ? .message(.initiation) : .invalid(.wrongLength)
        case 0x102:
            return datagram.count == HybridResponse.count
                ? .message(.response) : .invalid(.wrongLength)
        default:
            return .invalid(.unknownType)
        }
    }

    /// The family of a datagram that is one of the messages.
    ///
    /// - Parameter datagram: At least 4 bytes.
    @inlinable @inline(__always)
    public static func family(of datagram: ByteRegion) -> Family {
        datagram[typeOffset &+ 1] == Family.branchline.rawValue ? .branchline : .wireguard
    }

    /// Whether a datagram claims to be transport data, of whichever family.
    @inlinable @inline(__always)
    public static func isTransportData(_ datagram: ByteRegion) -> Bool {
        datagram.count >= TransportData.overhead
            && datagram.littleEndian32(at: typeOffset) & ~0x100 == Kind.transportData.rawValue
    }

    /// The 32-bit type of a message with its reserved bytes.
    @inlinable @inline(__always)
    public static func typeWord(_ kind: Kind, _ family: Family) -> UInt32 {
        kind.rawValue | UInt32(family.rawValue) &<< 8
    }

    /// Offset of the little-endian 32-bit type in every message.
    @inlinable public static var typeOffset: Int { 0 }

    /// Type 1, 148 bytes.
    public enum Initiation {
        @inlinable public static var count: Int { 148 }
        @inlinable public static var senderIndexOffset: Int { 4 }
        @inlinable public static var ephemeralOffset: Int { 8 }
        /// The initiator's static key, encrypted: 32 + 16 bytes.
        @inlinable public static var encryptedStaticOffset: Int { 40 }
        /// The TAI64N timestamp, encrypted: 12 + 16 bytes.
        @inlinable public static var encryptedTimestampOffset: Int { 88 }
        @inlinable public static var mac1Offset: Int { 116 }
        @inlinable public static var mac2Offset: Int { 132 }
    }

    /// Type 2, 92 bytes.
    public enum Response {
        @inlinable public static var count: Int { 92 }
        @inlinable public static var senderIndexOffset: Int { 4 }
        @inlinable public static var receiverIndexOffset: Int { 8 }
        @inlinable public static var ephemeralOffset: Int { 12 }
        /// An empty plaintext, encrypted: 16 bytes.
        @inlinable public static var encryptedNothingOffset: Int { 44 }
        @inlinable public static var mac1Offset: Int { 60 }
        @inlinable public static var mac2Offset: Int { 76 }
    }

    /// Type 0x101, 1,348 bytes: profile `branchline`.
    public enum HybridInitiation {
        @inlinable public static var count: Int { 1_348 }
        @inlinable public static var senderIndexOffset: Int { 4 }
        @inlinable public static var ephemeralOffset: Int { 8 }
        /// The ML-KEM-768 encapsulation key, encrypted: 1,184 + 16 bytes.
        @inlinable public static var encryptedEncapsulationKeyOffset: Int { 40 }
        /// The initiator's static key, encrypted: 32 + 16 bytes.
        @inlinable public static var encryptedStaticOffset: Int { 1_240 }
        /// The TAI64N timestamp, encrypted: 12 + 16 bytes.
        @inlinable public static var encryptedTimestampOffset: Int { 1_288 }
        @inlinable public static var mac1Offset: Int { 1_316 }
        @inlinable public static var mac2Offset: Int { 1_332 }
    }

    /// Type 0x102, 1,196 bytes: profile `branchline`.
    public enum HybridResponse {
        @inlinable public static var count: Int { 1_196 }
        @inlinable public static var senderIndexOffset: Int { 4 }
        @inlinable public static var receiverIndexOffset: Int { 8 }
        @inlinable public static var ephemeralOffset: Int { 12 }
        /// The ML-KEM-768 ciphertext, encrypted: 1,088 + 16 bytes.
        @inlinable public static var encryptedCiphertextOffset: Int { 44 }
        /// An empty plaintext, encrypted: 16 bytes.
        @inlinable public static var encryptedNothingOffset: Int { 1_148 }
        @inlinable public static var mac1Offset: Int { 1_164 }
        @inlinable public static var mac2Offset: Int { 1_180 }
    }

    /// Types 3 and 0x103, 64 bytes.
    public enum CookieReply {
        @inlinable public static var count: Int { 64 }
        @inlinable public static var receiverIndexOffset: Int { 4 }
        /// The XChaCha20-Poly1305 nonce: 24 bytes.
        @inlinable public static var nonceOffset: Int { 8 }
        /// The cookie, encrypted: 16 + 16 bytes.
        @inlinable public static var encryptedCookieOffset: Int { 32 }
    }

    /// Types 4 and 0x104: header, encrypted packet, tag.
    public enum TransportData {
        @inlinable public static var receiverIndexOffset: Int { 4 }
        @inlinable public static var counterOffset: Int { 8 }
        @inlinable public static var headerCount: Int { 16 }
        @inlinable public static var tagCount: Int { 16 }
        /// Header and tag: what a message is longer than its padded packet, and the size of a
        /// keepalive.
        @inlinable public static var overhead: Int { 32 }
        /// Plaintext is padded to a multiple of this many bytes.
        @inlinable public static var paddingMultiple: Int { 16 }

        /// The length of a packet with its padding, which stops at `limit`.
        @inlinable @inline(__always)
        public static func paddedCount(_ count: Int, limit: Int) -> Int {
            min((count &+ paddingMultiple &- 1) & ~(paddingMultiple &- 1), max(limit, count))
        }
    }
}
