/// Why a frame read from a TUN device cannot be sent.
///
/// The kernel makes no such frames; a local program with raw access can.
public enum FrameFault: UInt8, CaseIterable, Error, Sendable {
    /// Neither IPv4 nor IPv6, shorter than its IP header, or shorter than that header states.
    case notIP
    /// More than 65,535 bytes.
    case tooLong
    /// The caller left no writable bytes after the frame.
    case noRoomForPadding
    /// A checksum is asked for at a place outside of the packet.
    case checksumOutside
    /// A segmentation type this package does not ask the kernel for.
    case unknownSegmentation
    /// The headers are not those that the segmentation type stands for, or too long to repeat.
    case wrongHeaders
    /// The frame to be cut is a fragment.
    case fragment
    /// The frame to be cut differs in length from what its IP header states.
    case lengthMismatch
    /// The headers to be repeated do not fit in the frame.
    case truncated
    /// The segment size is zero.
    case segmentSizeZero
    /// More than 1,024 packets.
    case tooManySegments
}
