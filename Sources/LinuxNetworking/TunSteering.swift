import CLinux
public import PacketFormats
public import SystemPackage

/// Which queue of a TUN device takes the packets to which destinations.
///
/// Without it a flow changes queues while packets of it still wait in the old one, and the thread
/// of the new queue overtakes that of the old. One thread uses an instance.
///
/// Source: drivers/net/tun.c (`tun_ebpf_select_queue`).
public final class TunSteering {
    private let table: OwnedDescriptor

    /// - Parameter capacity: Most prefixes.
    /// - Throws: EPERM without CAP_BPF (CAP_SYS_ADMIN before Linux 5.8), EINVAL before Linux 4.16.
    ///   bpf, TUNSETSTEERINGEBPF
    public convenience init(_ device: TunDevice, capacity: Int) throws(Errno) {
        try self.init(capacity: capacity)
        try attach(to: device)
    }

    /// A table that no device looks at yet, to be filled before one does.
    ///
    /// - Throws: As ``init(_:capacity:)``. bpf
    public init(capacity: Int) throws(Errno) {
        let created = clinux_steering_table(UInt32(clamping: capacity))
        if created < 0 { throw Errno(rawValue: -created) }
        table = OwnedDescriptor(created)
    }

    /// Lets `device` go by this table, in the place of another one. TUNSETSTEERINGEBPF
    public func attach(to device: TunDevice) throws(Errno) {
        guard let queue = device.queues.first else { throw .badFileDescriptor }
        let status = clinux_tun_steer(queue.fileDescriptor, table.rawValue)
        if status < 0 { throw Errno(rawValue: -status) }
    }

    deinit { table.close() }

    /// Sends packets to `prefix` to a queue, but for those to longer prefixes. A table that is full
    /// leaves them to others. bpf
    public func set(_ prefix: IPPrefix, queue: Int) {
        var key = Self.key(prefix)
        _ = unsafe clinux_steering_set(table.rawValue, &key, UInt32(clamping: queue))
    }

    /// bpf
    public func remove(_ prefix: IPPrefix) {
        var key = Self.key(prefix)
        _ = unsafe clinux_steering_remove(table.rawValue, &key)
    }

    private static func key(_ prefix: IPPrefix) -> clinux_steering_key {
        let isIPv4 = prefix.address.isIPv4
        var key = clinux_steering_key()
        key.length = UInt32(isIPv4 ? prefix.length + 96 : prefix.length)
        let low = isIPv4 ? 0xffff << 32 | prefix.address.low : prefix.address.low
        unsafe withUnsafeMutableBytes(of: &key.address) {
            unsafe $0.storeBytes(of: prefix.address.high.bigEndian, as: UInt64.self)
            unsafe $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return key
    }
}
