import Glibc
public import PacketMemory

/// One queue of a TUN device: frames in both directions, each with its virtio_net_hdr in front.
///
/// Borrows the descriptor of its ``TunDevice``, which must outlive it.
public struct TunQueue: Sendable {
    public let fileDescriptor: Int32

    /// Reads one frame into `first` and what does not fit there into `overflow`.
    ///
    /// - Parameter overflow: May be empty. Bytes that fit in neither are lost.
    /// - Returns: Bytes of header and frame, or -errno: -EAGAIN when the queue is empty, -EBADFD
    ///   once the device has been deleted. readv
    public func read(_ first: ByteRegion, _ overflow: ByteRegion) -> Int {
        var vectors = (first, overflow)
        let count = unsafe withUnsafeMutableBytes(of: &vectors) { bytes in
            // ByteRegion has the layout of iovec.
            unsafe readv(
                fileDescriptor,
                bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: iovec.self),
                overflow.count > 0 ? 2 : 1)
        }
        return count < 0 ? -Int(errno) : count
    }

    /// Whether the result of a read or write says that the interface was deleted.
    public static func isDeviceGone(_ result: Int) -> Bool { result == -Int(EBADFD) }

    /// Reads one frame. read
    public func read(_ region: ByteRegion) -> Int {
        let count = unsafe Glibc.read(fileDescriptor, region.unsafeStart, region.count)
        return count < 0 ? -Int(errno) : count
    }

    /// Writes one frame that lies in several regions, the virtio_net_hdr first.
    ///
    /// - Parameter regions: At most 1024 (IOV_MAX).
    /// - Returns: Bytes written, or -errno. -EINVAL: the header contradicts the frame; -EIO: the
    ///   interface is down. writev
    public func write(_ regions: RegionList) -> Int {
        let count = unsafe writev(
            fileDescriptor,
            UnsafeRawPointer(regions.unsafeStart).assumingMemoryBound(to: iovec.self),
            Int32(truncatingIfNeeded: regions.count))
        return count < 0 ? -Int(errno) : count
    }

    /// Writes one contiguous frame. write
    public func write(_ region: ByteRegion) -> Int {
        let count = unsafe Glibc.write(fileDescriptor, region.unsafeStart, region.count)
        return count < 0 ? -Int(errno) : count
    }
}
