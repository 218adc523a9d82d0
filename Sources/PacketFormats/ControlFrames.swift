public import PacketMemory

/// A message between two nodes inside the encryption, of profile `branchline`.
public struct ControlFrame: Sendable {
    /// What it is; its high nibble is neither 4 nor 6.
    public let type: UInt8
    /// At most 65,535 bytes of the plaintext it came in.
    public let value: ByteRegion

    /// Type, then length.
    public static var headerCount: Int { 3 }

    /// Fills the rest of a plaintext: a frame of this one byte, without length and value.
    public static var padding: UInt8 { 0 }

    /// Writes one frame to the start of `region`.
    ///
    /// - Parameters:
    ///   - type: Not ``padding``, and its high nibble neither 4 nor 6.
    ///   - region: At least 3 bytes more than `value`, which is no longer than 65,535 bytes.
    /// - Returns: Bytes written.
    @discardableResult
    public static func write(type: UInt8, value: ByteRegion, to region: ByteRegion) -> Int {
        writeHeader(type: type, valueCount: value.count, to: region)
        region.copy(from: value, to: headerCount)
        return headerCount + value.count
    }

    /// Writes what a frame of `valueCount` bytes begins with.
    static func writeHeader(type: UInt8, valueCount: Int, to region: ByteRegion) {
        precondition(
            type != padding && ControlFrames.mayBegin(with: type),
            "no such type of a control frame")
        region[0] = type
        region.storeLittleEndian(UInt16(valueCount), at: 1)
    }
}

/// The control frames of one decrypted message, in order; padding is left out.
///
/// The first nibble of a plaintext tells what it is: 4 and 6 are IP packets, all else is a run of
/// control frames up to the end of the plaintext. A frame is a type of one byte, a little-endian
/// length of two, and as many bytes; a zero byte in the place of a type is a frame by itself, so
/// that zeros fill any room. Receivers skip types that they do not know.
///
/// Source: the article ProfileBranchline of module WireGuardProtocol, section 8.
public struct ControlFrames: Sendable {
    private var rest: ByteRegion

    /// Whether a decrypted message of profile `branchline` is control frames, and no packet.
    ///
    /// An empty one is a keepalive and neither.
    @inlinable @inline(__always)
    public static func isControl(_ plaintext: ByteRegion) -> Bool {
        plaintext.count > 0 && mayBegin(with: plaintext[0])
    }

    /// - Parameter plaintext: Must outlive the frames.
    /// - Returns: `nil` if a frame goes beyond the end or has the type of a packet, wherever among
    ///   the frames: then none of them counts.
    /// - Complexity: O(number of frames and bytes of padding).
    public init?(_ plaintext: ByteRegion) {
        guard Self.isControl(plaintext) else { return nil }
        rest = plaintext
        while rest.count > 0 {
            guard Self.mayBegin(with: rest[0]), let count = Self.firstCount(of: rest) else {
                return nil
            }
            rest = rest.region(from: count)
        }
        rest = plaintext
    }

    /// The next frame that is no padding; `nil` after the last.
    public mutating func next() -> ControlFrame? {
        while rest.count > 0, let count = Self.firstCount(of: rest) {
            let frame = rest.prefix(count)
            rest = rest.region(from: count)
            if frame[0] != ControlFrame.padding {
                return ControlFrame(
                    type: frame[0], value: frame.region(from: ControlFrame.headerCount))
            }
        }
        return nil
    }

    /// Whether a plaintext or frame that begins with this byte is no IP packet.
    @inlinable @inline(__always)
    static func mayBegin(with byte: UInt8) -> Bool {
        let nibble = byte &>> 4
        return nibble != 4 && nibble != 6
    }

    /// Bytes of the first frame; `nil` if there are less.
    private static func firstCount(of rest: ByteRegion) -> Int? {
        if rest[0] == ControlFrame.padding { return 1 }
        guard rest.count >= ControlFrame.headerCount else { return nil }
        let count = ControlFrame.headerCount &+ Int(rest.littleEndian16(at: 1))
        return count <= rest.count ? count : nil
    }
}
