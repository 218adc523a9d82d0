import CLinux
import Glibc

/// The server's side of a Unix stream connection, which never blocks.
public final class UnixStream: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// What a read found.
    public enum Reading: Sendable {
        /// Bytes have been appended.
        case bytes
        case wouldBlock
        /// The other side will send nothing more.
        case ended
        case failed
    }

    /// Takes over a descriptor that a listener accepted, and makes it non-blocking.
    public init(adopting fileDescriptor: Int32) {
        descriptor = OwnedDescriptor(fileDescriptor)
        let flags = fcntl(fileDescriptor, F_GETFL)
        _ = fcntl(fileDescriptor, F_SETFL, flags | O_NONBLOCK)
    }

    /// Appends what has arrived, without a buffer in between: it may hold keys. recv
    ///
    /// - Parameter bytes: Has capacity for `byteCountMax` more bytes, or is copied to get it.
    public func read(appendingTo bytes: inout [UInt8], upTo byteCountMax: Int) -> Reading {
        while true {
            let count = unsafe bytes.appendRead(upTo: byteCountMax) {
                unsafe recv(descriptor.rawValue, $0.baseAddress, $0.count, 0)
            }
            if count > 0 { return .bytes }
            if count == 0 { return .ended }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            default: return .failed
            }
        }
    }

    /// Writes as much as the socket takes. send
    ///
    /// - Parameter start: Bytes before it are left out. A slice would hold on to the array, which
    ///   its owner could then not wipe.
    /// - Returns: Bytes written, 0 when the socket is full, -1 when the other side is gone.
    public func write(_ bytes: [UInt8], from start: Int = 0) -> Int {
        while true {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[start...])
                return unsafe send(
                    descriptor.rawValue, rest.baseAddress, rest.count, Int32(CLINUX_MSG_NOSIGNAL))
            }
            if count >= 0 { return count }
            switch errno {
            case EINTR: continue
            case EAGAIN: return 0
            default: return -1
            }
        }
    }

    public func close() {
        descriptor.close()
    }
}
