import CLinux
import Glibc
public import PacketFormats
public import SystemPackage

/// A UDP socket for a few small datagrams, which never leaves one interface.
///
/// One thread at a time uses it.
public final class DatagramSocket: Sendable {
    private let descriptor: OwnedDescriptor
    private let family: SocketFamily

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// - Parameters:
    ///   - endpoint: Our address and port; port 0 leaves the choice to the kernel.
    ///   - device: The interface that its packets leave and come by.
    /// - Throws: EADDRINUSE where the port is taken. SO_BINDTODEVICE, bind
    public init(boundTo endpoint: Endpoint, device: String) throws(Errno) {
        family = SocketFamily(of: endpoint.address)
        descriptor = try .socket(family, Int32(CLINUX_SOCK_DGRAM))
        try descriptor.bind(toDevice: device)
        guard let name = SocketName(endpoint, family: family) else {
            throw .addressFamilyNotSupported
        }
        try descriptor.bind(name)
    }

    /// - Returns: Bytes sent, or -errno. sendto
    @discardableResult
    public func send(_ bytes: [UInt8], to endpoint: Endpoint) -> Int {
        guard var name = SocketName(endpoint, family: family) else { return -Int(EAFNOSUPPORT) }
        let nameByteCount = socklen_t(name.count)
        let count = unsafe withUnsafeBytes(of: &name) { nameBytes in
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe sendto(
                    descriptor.rawValue, bytes.baseAddress, bytes.count,
                    Int32(CLINUX_MSG_NOSIGNAL),
                    nameBytes.baseAddress.unsafelyUnwrapped
                        .assumingMemoryBound(to: sockaddr.self), nameByteCount)
            }
        }
        return count >= 0 ? count : -Int(errno)
    }

    /// Receives a datagram in place of the first bytes of a buffer.
    ///
    /// - Returns: Its length, which is more than the buffer's where that was too small, and where
    ///   it came from; `nil` where none is there. recvfrom
    public func receive(into bytes: inout [UInt8]) -> (byteCount: Int, source: Endpoint)? {
        var name = SocketName(anyAddressOf: family, port: 0)
        let count = unsafe withUnsafeMutableBytes(of: &name) { nameBytes in
            unsafe bytes.withUnsafeMutableBytes { bytes in
                var nameByteCount = socklen_t(nameBytes.count)
                return unsafe recvfrom(
                    descriptor.rawValue, bytes.baseAddress, bytes.count, Int32(CLINUX_MSG_TRUNC),
                    nameBytes.baseAddress.unsafelyUnwrapped
                        .assumingMemoryBound(to: sockaddr.self), &nameByteCount)
            }
        }
        return count < 0 ? nil : (count, name.endpoint)
    }

    public func close() { descriptor.close() }
}
