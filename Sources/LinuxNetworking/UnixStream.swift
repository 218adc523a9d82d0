import CLinux
import Glibc

/// The server's side of a Unix stream connection, which never blocks.
public final class UnixStream: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// What a read found.
    public enum Reading: Sendable {
        case bytes([UInt8])
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

    /// Reads what has arrived. recv
    public func read(upTo byteCountMax: Int) -> Reading {
        var buffer = [UInt8](repeating: 0, count: byteCountMax)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe recv(descriptor.rawValue, $0.baseAddress, $0.count, 0)
            }
            if count > 0 { return .bytes(Array(buffer.prefix(count))) }
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
    /// - Returns: Bytes written, 0 when the socket is full, -1 when the other side is gone.
    public func write(_ bytes: ArraySlice<UInt8>) -> Int {
        while true {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe send(
                    descriptor.rawValue, $0.baseAddress, $0.count, Int32(CLINUX_MSG_NOSIGNAL))
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
