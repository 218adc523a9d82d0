import CLinux
import Glibc
import PacketFormats
import SystemPackage

/// Queues that another process has opened, and goes on with or not.
extension TunDevice {
    /// Takes over an open TUN queue, as wireguard-go does with WG_TUN_FD.
    ///
    /// The device owns the descriptor from here on, also when this throws.
    /// - Throws: ``TunError/unusableDescriptor(_:reason:)`` for anything but a TUN queue without
    ///   packet information header.
    public static func adopt(
        fileDescriptor: Int32, wanted: TunOffloads = .all
    ) throws(TunError) -> TunDevice {
        try adopt(fileDescriptors: [fileDescriptor], wanted: wanted)
    }

    /// Takes over all queues of a device, which may be in another network namespace.
    ///
    /// The kernel numbers the queues, so their order matters. The device owns the descriptors from
    /// here on, also when this throws.
    /// - Throws: ``TunError/unusableDescriptor(_:reason:)`` for anything but queues of one TUN
    ///   device without packet information header.
    public static func adopt(
        fileDescriptors: [Int32], wanted: TunOffloads = .all
    ) throws(TunError) -> TunDevice {
        let owned = fileDescriptors.map { OwnedDescriptor($0) }
        guard let first = owned.first else {
            throw .unusableDescriptor(-1, reason: "there is none")
        }
        let place = try inspect(first)
        for other in owned.dropFirst() where try inspect(other) != place {
            throw .unusableDescriptor(
                other.rawValue, reason: "it is no queue of \(place.name), as another one is")
        }
        let hasHeader = place.flags & headerFlag != 0
        let fallbacks =
            hasHeader
            ? [] : ["no segmentation offload: \(place.name) was opened without IFF_VNET_HDR"]
        return try TunDevice(
            owned, name: place.name, interfaceIndex: index(of: place.name, first),
            hasHeader: hasHeader, wanted: wanted, fallbacks: fallbacks)
    }

    /// What all queues of a device have in common.
    private struct Place: Equatable {
        var name: String
        var flags: UInt32
        /// Of the file that stands for its network namespace; 0 where the kernel does not tell.
        var namespace: UInt64
    }

    private static func inspect(_ queue: OwnedDescriptor) throws(TunError) -> Place {
        let (name, flags) = try describe(queue)
        if flags & tunFlag == 0 {
            throw .unusableDescriptor(
                queue.rawValue, reason: "\(name) is a TAP device, a TUN device is needed")
        }
        if flags & noPacketInformationFlag == 0 {
            throw .unusableDescriptor(
                queue.rawValue, reason: "\(name) was opened without IFF_NO_PI")
        }
        if let reason = InterfaceName.fault(in: name) {
            throw .invalidName(name, reason: reason)
        }
        do {
            try queue.setNonblocking()
        } catch {
            throw .failed(operation: "making the descriptor nonblocking", error)
        }
        return Place(name: name, flags: flags, namespace: namespaceNumber(of: queue))
    }

    private static func namespaceNumber(of queue: OwnedDescriptor) -> UInt64 {
        let namespace = clinux_tun_network_namespace(queue.rawValue)
        guard namespace >= 0 else { return 0 }
        defer { _ = Glibc.close(namespace) }
        var status = stat()
        return unsafe fstat(namespace, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// The index that the interface has in its own namespace; `nil` where that cannot be entered,
    /// or the kernel does not tell which it is.
    private static func index(of name: String, _ queue: OwnedDescriptor) -> UInt32? {
        let found = try? inNamespace(ofQueue: queue.rawValue) {
            unsafe if_nametoindex(name)
        }
        return found.flatMap { $0 == 0 ? nil : $0 }
    }
}
