import CLinux
import Glibc
public import PacketMemory
public import SystemPackage

/// Memory that one process hands to another by its descriptor, for what may hold keys.
///
/// It is in no file system, its size never changes, and it is set to zero when either of the two
/// lets it go: both have the same pages.
public final class HandoverMemory: Sendable {
    /// All of it; valid while this object lives.
    public let whole: ByteRegion
    private let descriptor: OwnedDescriptor

    /// For passing; stays open here.
    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// - Parameter byteCount: At least 1.
    /// - Throws: ENOMEM. memfd_create, mmap
    public convenience init(byteCount: Int) throws(Errno) {
        precondition(byteCount > 0, "there is memory")
        let created = clinux_sealable_memory_file(byteCount)
        if created < 0 { throw Errno(rawValue: -created) }
        try self.init(mapping: OwnedDescriptor(created), byteCount: byteCount)
    }

    /// Takes over the memory of another process.
    ///
    /// The object owns the descriptor from here on, also when this throws.
    /// - Throws: EINVAL for anything but memory of a fixed size, EMSGSIZE for too much of it. mmap
    public convenience init(
        adopting fileDescriptor: Int32, byteCountMax: Int
    ) throws(Errno) {
        let owned = OwnedDescriptor(fileDescriptor)
        // What could become less while it is read would end this process with SIGBUS.
        guard clinux_has_fixed_size(fileDescriptor) == 1 else { throw .invalidArgument }
        var status = stat()
        guard unsafe fstat(fileDescriptor, &status) == 0 else { throw Errno(rawValue: errno) }
        guard status.st_size > 0 else { throw .invalidArgument }
        guard status.st_size <= byteCountMax else { throw .messageTooLong }
        try self.init(mapping: owned, byteCount: Int(status.st_size))
    }

    private init(mapping descriptor: OwnedDescriptor, byteCount: Int) throws(Errno) {
        let start = unsafe mmap(
            nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)
        guard let start = unsafe start, unsafe start != MAP_FAILED else {
            throw Errno(rawValue: errno)
        }
        // Not on disk, as far as the process may ask for that.
        _ = unsafe mlock(start, byteCount)
        _ = unsafe madvise(start, byteCount, MADV_DONTDUMP)
        self.descriptor = descriptor
        whole = unsafe ByteRegion(start: start, count: byteCount)
    }

    deinit {
        unsafe explicit_bzero(whole.unsafeStart, whole.count)
        _ = unsafe munmap(whole.unsafeStart, whole.count)
    }
}
