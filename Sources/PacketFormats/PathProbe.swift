public import PacketMemory

/// A question to a peer: how long is the way to you, and does a datagram of this size pass?
///
/// A control frame of type 0x01. Nothing of it but the number is for the peer to understand; its
/// size is that of the datagram which carries it, filled with padding behind the frame.
///
/// Source: the article ProfileBranchline of module WireGuardProtocol, section 8.1.
public struct PathProbe: Sendable, Hashable {
    /// Tells it from those before it.
    public let number: UInt32
    /// UDP payload bytes of the datagram that carries it; 0 for no more than it needs. A larger one
    /// leaves with Don't Fragment.
    public let datagramByteCount: Int

    public init(number: UInt32, datagramByteCount: Int = 0) {
        self.number = number
        self.datagramByteCount = datagramByteCount
    }

    public static var frameType: UInt8 { 0x01 }
    /// Bytes of a frame with its header.
    public static var frameCount: Int { ControlFrame.headerCount + valueCount }
    private static var valueCount: Int { 12 }

    /// Writes the frame to the start of `region`.
    ///
    /// - Parameters:
    ///   - sentAt: The sender's clock in microseconds, of any origin; comes back with the answer.
    ///   - region: At least ``frameCount`` bytes.
    public func write(sentAt: UInt64, to region: ByteRegion) {
        ControlFrame.writeHeader(type: Self.frameType, valueCount: Self.valueCount, to: region)
        let value = region.region(at: ControlFrame.headerCount, count: Self.valueCount)
        value.storeLittleEndian(number, at: 0)
        value.storeLittleEndian(sentAt, at: 4)
    }

    /// What a peer's probe says to whoever answers it.
    public struct Received: Sendable, Hashable {
        public let number: UInt32
        public let sentAt: UInt64

        /// - Returns: `nil` for a frame of another type or too short. Longer ones are read: later
        ///   versions may say more.
        public init?(_ frame: ControlFrame) {
            guard frame.type == PathProbe.frameType, frame.value.count >= PathProbe.valueCount
            else { return nil }
            number = frame.value.littleEndian32(at: 0)
            sentAt = frame.value.littleEndian64(at: 4)
        }
    }
}

/// The answer to a ``PathProbe``: a control frame of type 0x02.
///
/// Source: the article ProfileBranchline of module WireGuardProtocol, section 8.1.
public struct PathAnswer: Sendable, Hashable {
    /// Of the probe.
    public var number: UInt32
    /// When the probe left, as it said itself.
    public var sentAt: UInt64
    /// When the probe arrived: microseconds of the answering side's clock, of any origin.
    public var receivedAt: UInt64
    /// How long the answer was kept back, in microseconds.
    public var heldMicroseconds: UInt32
    /// UDP payload bytes of the datagram that the probe came in.
    public var datagramByteCount: UInt16
    /// The session that the probe came with, by the answering side's index.
    public var session: UInt32
    /// Messages of that session that have arrived.
    public var receivedCount: UInt64
    /// Messages of that session up to the greatest counter that has arrived.
    public var expectedCount: UInt64

    public init(
        number: UInt32, sentAt: UInt64, receivedAt: UInt64, heldMicroseconds: UInt32 = 0,
        datagramByteCount: UInt16 = 0, session: UInt32 = 0, receivedCount: UInt64 = 0,
        expectedCount: UInt64 = 0
    ) {
        self.number = number
        self.sentAt = sentAt
        self.receivedAt = receivedAt
        self.heldMicroseconds = heldMicroseconds
        self.datagramByteCount = datagramByteCount
        self.session = session
        self.receivedCount = receivedCount
        self.expectedCount = expectedCount
    }

    public static var frameType: UInt8 { 0x02 }
    /// Bytes of a frame with its header.
    public static var frameCount: Int { ControlFrame.headerCount + valueCount }
    private static var valueCount: Int { 46 }

    /// Writes the frame to the start of `region`.
    ///
    /// - Parameter region: At least ``frameCount`` bytes.
    public func write(to region: ByteRegion) {
        ControlFrame.writeHeader(type: Self.frameType, valueCount: Self.valueCount, to: region)
        let value = region.region(at: ControlFrame.headerCount, count: Self.valueCount)
        value.storeLittleEndian(number, at: 0)
        value.storeLittleEndian(sentAt, at: 4)
        value.storeLittleEndian(receivedAt, at: 12)
        value.storeLittleEndian(heldMicroseconds, at: 20)
        value.storeLittleEndian(datagramByteCount, at: 24)
        value.storeLittleEndian(session, at: 26)
        value.storeLittleEndian(receivedCount, at: 30)
        value.storeLittleEndian(expectedCount, at: 38)
    }

    /// - Returns: `nil` for a frame of another type or too short.
    public init?(_ frame: ControlFrame) {
        guard frame.type == Self.frameType, frame.value.count >= Self.valueCount else {
            return nil
        }
        let value = frame.value
        self.init(
            number: value.littleEndian32(at: 0), sentAt: value.littleEndian64(at: 4),
            receivedAt: value.littleEndian64(at: 12),
            heldMicroseconds: value.littleEndian32(at: 20),
            datagramByteCount: value.littleEndian16(at: 24),
            session: value.littleEndian32(at: 26), receivedCount: value.littleEndian64(at: 30),
            expectedCount: value.littleEndian64(at: 38))
    }
}
