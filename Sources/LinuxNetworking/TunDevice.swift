import CLinux
import Glibc
import PacketFormats
import SystemPackage

/// A TUN interface that lives as long as its descriptors are open.
///
/// With ``hasVirtioHeader`` every frame read or written begins with a 10-byte virtio_net_hdr, by
/// which the kernel hands over unsegmented TCP and UDP frames of up to 64 KiB.
///
/// Source: Documentation/networking/tuntap.rst; virtio 1.2, section 5.1.6.
public final class TunDevice: Sendable {
    /// Name as the kernel had it when the device was opened; it may be renamed later.
    public let name: String
    public let interfaceIndex: UInt32
    /// At least one. Left to itself the kernel moves a flow to the queue that its answers are
    /// written to, and away again after three seconds without: see ``TunSteering``.
    public let queues: [TunQueue]
    public let offloads: TunOffloads
    public let hasVirtioHeader: Bool
    /// What was asked for and is missing, each in words that fit a log line.
    public let fallbacks: [String]

    private let descriptors: [OwnedDescriptor]

    /// Makes the interface `name`, or takes over a persistent single-queue one that nobody uses.
    ///
    /// - Parameters:
    ///   - queueCount: Wanted queues, 1...256. With 1 the device is an ordinary single-queue one.
    ///   - wanted: Offloads to ask for; the device gets as many of them as the kernel knows.
    ///   - namespace: Where the interface is new; `nil` for the calling thread's own.
    /// - Throws: ``TunError``, whose description says what to do.
    public static func create(
        name: String, queueCount: Int = 1, wanted: TunOffloads = .all,
        namespace: NetworkNamespace? = nil
    ) throws(TunError) -> TunDevice {
        if let reason = InterfaceName.fault(in: name) {
            throw .invalidName(name, reason: reason)
        }
        if let namespace {
            return try create(name, in: namespace, queueCount: queueCount, wanted: wanted)
        }
        return try make(name, queueCount: queueCount, wanted: wanted)
    }

    /// - Parameter name: May be a pattern with `%d`, for which the kernel chooses a number.
    static func make(
        _ name: String, queueCount: Int, wanted: TunOffloads
    ) throws(TunError) -> TunDevice {
        var fallbacks: [String] = []
        let first = try open()
        let features = try features(of: first)
        let hasHeader = features & headerFlag != 0
        if !hasHeader {
            fallbacks.append("no segmentation offload: the TUN driver lacks IFF_VNET_HDR")
        }
        let base = tunFlags | (hasHeader ? headerFlag : 0)
        let flags = try attachFirst(
            first, name, base: base, queueCount: min(max(queueCount, 1), queueCountMax),
            features: features, fallbacks: &fallbacks)
        var descriptors = [first]
        let name = try describe(first).name
        if flags & multiQueueFlag != 0 {
            attachFurther(
                &descriptors, name: name, flags: flags, queueCount: queueCount,
                fallbacks: &fallbacks)
        }
        return try TunDevice(
            descriptors, name: name, hasHeader: hasHeader, wanted: wanted, fallbacks: fallbacks)
    }

    /// The device under the name and index that it has in another namespace.
    init(_ device: TunDevice, name: String, interfaceIndex: UInt32) {
        self.name = name
        self.interfaceIndex = interfaceIndex
        queues = device.queues
        offloads = device.offloads
        hasVirtioHeader = device.hasVirtioHeader
        fallbacks = device.fallbacks
        descriptors = device.descriptors
    }

    /// - Parameter interfaceIndex: `nil` for that of the name in the calling thread's namespace.
    init(
        _ descriptors: [OwnedDescriptor], name: String, interfaceIndex index: UInt32? = nil,
        hasHeader: Bool, wanted: TunOffloads, fallbacks: [String]
    ) throws(TunError) {
        self.name = name
        self.descriptors = descriptors
        queues = descriptors.map { TunQueue(fileDescriptor: $0.rawValue) }
        hasVirtioHeader = hasHeader
        interfaceIndex = unsafe index ?? if_nametoindex(name)
        if interfaceIndex == 0 {
            throw .failed(operation: "finding the index of \(name)", Errno(rawValue: errno))
        }
        var fallbacks = fallbacks
        offloads = try Self.configure(
            descriptors, hasHeader: hasHeader, wanted: wanted, fallbacks: &fallbacks)
        self.fallbacks = fallbacks
    }

    /// Closes every queue; an interface that is not persistent goes away with them. close
    public func close() {
        for descriptor in descriptors { descriptor.close() }
    }

    /// Packets that the kernel may hold for each queue before it drops; 500 by default.
    public func setTransmitQueueLength(
        _ packetCount: Int, through netlink: RoutingNetlink
    ) throws(NetlinkError) {
        try netlink.setLink(interfaceIndex, transmitQueueLength: packetCount)
    }
}

// MARK: - Steps of making a device

extension TunDevice {
    private static func open() throws(TunError) -> OwnedDescriptor {
        let descriptor = unsafe Glibc.open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)
        if descriptor >= 0 { return OwnedDescriptor(descriptor) }
        let error = Errno(rawValue: errno)
        switch error {
        case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .operationNotSupportedByDevice:
            throw .driverMissing(error)
        case .permissionDenied, .notPermitted:
            throw .notPermitted(error)
        default:
            throw .failed(operation: "opening /dev/net/tun", error)
        }
    }

    private static func features(of descriptor: OwnedDescriptor) throws(TunError) -> UInt32 {
        var features: UInt32 = 0
        let status = unsafe clinux_tun_features(descriptor.rawValue, &features)
        if status < 0 { throw .failed(operation: "TUNGETFEATURES", Errno(rawValue: -status)) }
        return features
    }

    /// Attaches the first queue and returns the flags that it was attached with.
    ///
    /// IFF_TUN_EXCL comes first: without it a second daemon would become one more queue of a
    /// running daemon's multi-queue device, and take half of its packets.
    private static func attachFirst(
        _ descriptor: OwnedDescriptor, _ name: String, base: UInt32, queueCount: Int,
        features: UInt32, fallbacks: inout [String]
    ) throws(TunError) -> UInt32 {
        if queueCount > 1, features & multiQueueFlag != 0 {
            let status = attach(descriptor, name, base | multiQueueFlag | exclusiveFlag)
            if status == 0 { return base | multiQueueFlag }
            if status != -EINVAL && status != -EBUSY { throw attachError(status, name) }
        }
        var status = attach(descriptor, name, base | exclusiveFlag)
        if status == -EBUSY { status = attach(descriptor, name, base) }
        if status < 0 { throw attachError(status, name) }
        if queueCount > 1 {
            fallbacks.append("one TUN queue instead of \(queueCount): no IFF_MULTI_QUEUE")
        }
        return base
    }

    private static func attachFurther(
        _ descriptors: inout [OwnedDescriptor], name: String, flags: UInt32, queueCount: Int,
        fallbacks: inout [String]
    ) {
        while descriptors.count < min(queueCount, queueCountMax) {
            guard let next = try? open(), attach(next, name, flags) == 0 else {
                fallbacks.append("\(descriptors.count) TUN queues instead of \(queueCount)")
                return
            }
            descriptors.append(next)
        }
    }

    private static func attach(
        _ descriptor: OwnedDescriptor, _ name: String, _ flags: UInt32
    ) -> Int32 {
        var buffer = nameBuffer(name)
        return unsafe buffer.withUnsafeMutableBufferPointer {
            unsafe clinux_tun_attach(descriptor.rawValue, $0.baseAddress, flags)
        }
    }

    static func describe(
        _ descriptor: OwnedDescriptor
    ) throws(TunError) -> (name: String, flags: UInt32) {
        var buffer = nameBuffer("")
        var flags: UInt32 = 0
        let status = unsafe buffer.withUnsafeMutableBufferPointer {
            unsafe clinux_tun_describe(descriptor.rawValue, $0.baseAddress, &flags)
        }
        switch -status {
        case 0:
            let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            return (String(decoding: bytes, as: UTF8.self), flags)
        case EBADF:
            throw .unusableDescriptor(descriptor.rawValue, reason: "it is not open")
        case EBADFD:
            throw .unusableDescriptor(
                descriptor.rawValue, reason: "it is not attached to an interface")
        default:
            throw .unusableDescriptor(descriptor.rawValue, reason: "it is no TUN queue")
        }
    }

    private static func attachError(_ status: Int32, _ name: String) -> TunError {
        let error = Errno(rawValue: -status)
        switch error {
        case .notPermitted, .permissionDenied: return .notPermitted(error)
        case .resourceBusy, .invalidArgument, .fileExists: return .nameInUse(name)
        default: return .failed(operation: "TUNSETIFF", error)
        }
    }

    /// Sets the header size and walks down the ladder of offloads until the kernel agrees.
    private static func configure(
        _ descriptors: [OwnedDescriptor], hasHeader: Bool, wanted: TunOffloads,
        fallbacks: inout [String]
    ) throws(TunError) -> TunOffloads {
        guard let first = descriptors.first, hasHeader else { return [] }
        // The header size belongs to the device on new kernels and to the queue on old ones.
        for descriptor in descriptors {
            let status = clinux_tun_set_header_size(descriptor.rawValue, virtioHeaderByteCount)
            if status < 0 { throw .failed(operation: "TUNSETVNETHDRSZ", Errno(rawValue: -status)) }
        }
        for (omitted, words) in offloadLadder {
            let attempt = wanted.subtracting(omitted)
            if clinux_tun_set_offload(first.rawValue, attempt.rawValue) == 0 {
                if attempt != wanted { fallbacks.append(words) }
                return attempt
            }
        }
        fallbacks.append("no TUN offloads: the kernel refused TUNSETOFFLOAD")
        return []
    }

    /// `name` in IFNAMSIZ bytes with its terminator.
    private static func nameBuffer(_ name: String) -> [CChar] {
        var buffer = [CChar](repeating: 0, count: InterfaceName.byteCountMax + 1)
        for (index, byte) in name.utf8.prefix(InterfaceName.byteCountMax).enumerated() {
            buffer[index] = CChar(bitPattern: byte)
        }
        return buffer
    }

    /// MAX_TAP_QUEUES of the kernel's driver.
    private static let queueCountMax = 256
    private static let virtioHeaderByteCount: Int32 = 10

    static let tunFlag = UInt32(CLINUX_IFF_TUN)
    static let noPacketInformationFlag = UInt32(CLINUX_IFF_NO_PI)
    private static let tunFlags = tunFlag | noPacketInformationFlag
    static let headerFlag = UInt32(CLINUX_IFF_VNET_HDR)
    private static let multiQueueFlag = UInt32(CLINUX_IFF_MULTI_QUEUE)
    private static let exclusiveFlag = UInt32(CLINUX_IFF_TUN_EXCL)

    /// What each rung leaves out, and how to say it.
    private static let offloadLadder: [(omitted: TunOffloads, words: String)] = [
        ([], ""),
        (.udp, "no UDP segmentation on TUN: needs Linux 6.2"),
        ([.udp, .tcpECN], "no UDP segmentation and no TCP ECN segmentation on TUN"),
        ([.udp, .tcpECN, .tcp], "no TCP and no UDP segmentation on TUN"),
        (.all, "no offloads on TUN"),
    ]
}
