public import PacketMemory

/// What travels before every frame of a TUN device opened with IFF_VNET_HDR: which checksum is
/// still to be filled in, and how the frame is to be cut.
///
/// Fields are little-endian, as the kernel reads them on the machines this package runs on.
/// Source: Virtio 1.2, section 5.1.6 (the legacy layout, ten bytes); linux/virtio_net.h.
public struct VirtioNetHeader: Equatable, Sendable {
    public var flags: UInt8
    public var gsoType: UInt8
    /// Bytes before the payload. The kernel's value is a hint and can be larger than the headers.
    public var headerLength: UInt16
    /// Payload bytes of every segment but the last.
    public var gsoSize: UInt16
    /// Offset of the transport header in the frame.
    public var checksumStart: UInt16
    /// Offset of the checksum field from `checksumStart`.
    public var checksumOffset: UInt16

    /// A frame that is one complete packet.
    @inlinable
    public init() {
        flags = 0
        gsoType = Self.gsoNone
        headerLength = 0
        gsoSize = 0
        checksumStart = 0
        checksumOffset = 0
    }

    /// - Parameter bytes: At least ``count`` bytes.
    @inlinable
    public init(reading bytes: ByteRegion) {
        flags = bytes[0]
        gsoType = bytes[1]
        headerLength = bytes.littleEndian16(at: 2)
        gsoSize = bytes.littleEndian16(at: 4)
        checksumStart = bytes.littleEndian16(at: 6)
        checksumOffset = bytes.littleEndian16(at: 8)
    }

    /// - Parameter bytes: At least ``count`` bytes.
    @inlinable
    public func write(to bytes: ByteRegion) {
        bytes[0] = flags
        bytes[1] = gsoType
        bytes.storeLittleEndian(headerLength, at: 2)
        bytes.storeLittleEndian(gsoSize, at: 4)
        bytes.storeLittleEndian(checksumStart, at: 6)
        bytes.storeLittleEndian(checksumOffset, at: 8)
    }

    @inlinable public var needsChecksum: Bool { flags & Self.needsChecksumFlag != 0 }

    /// Size on the wire in bytes.
    @inlinable public static var count: Int { 10 }

    /// VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum field holds the pseudo header's sum only.
    @inlinable public static var needsChecksumFlag: UInt8 { 1 }
    /// VIRTIO_NET_HDR_GSO_NONE
    @inlinable public static var gsoNone: UInt8 { 0 }
    /// VIRTIO_NET_HDR_GSO_TCPV4
    @inlinable public static var gsoTCPv4: UInt8 { 1 }
    /// VIRTIO_NET_HDR_GSO_UDP: fragmentation offload of old, which this package never asks for.
    @inlinable public static var gsoUDPFragments: UInt8 { 3 }
    /// VIRTIO_NET_HDR_GSO_TCPV6
    @inlinable public static var gsoTCPv6: UInt8 { 4 }
    /// VIRTIO_NET_HDR_GSO_UDP_L4
    @inlinable public static var gsoUDPL4: UInt8 { 5 }
    /// VIRTIO_NET_HDR_GSO_ECN: the TCP header carries CWR.
    @inlinable public static var gsoECNBit: UInt8 { 0x80 }
}
