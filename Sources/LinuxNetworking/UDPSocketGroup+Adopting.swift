import CLinux
import Glibc
import SystemPackage

/// Sockets that another process has bound, and goes on with or not.
///
/// Datagrams wait in the sockets themselves, and the steering filter belongs to their group in the
/// kernel: whoever reads from them next finds all that has arrived since, at the same places.
extension UDPSocketGroup {
    /// For passing to another process, in the order that
    /// ``adopt(fileDescriptors:workerCount:)`` wants.
    public var fileDescriptors: [Int32] {
        (dataSockets + [controlSocket]).map(\.fileDescriptor)
    }

    /// Takes over all sockets of a group: the data sockets in their order, then the control socket.
    ///
    /// Mark, buffers and the filter are as the other process set them. The group owns the
    /// descriptors from here on, also when this throws.
    /// - Throws: For anything but UDP sockets that share one port, as many for each worker.
    public static func adopt(
        fileDescriptors: [Int32], workerCount: Int
    ) throws(UDPSocketError) -> UDPSocketGroup {
        let owned = fileDescriptors.map { OwnedDescriptor($0) }
        guard owned.count >= 2, let first = owned.first else {
            throw fault("there are fewer than two")
        }
        guard workerCount > 0, (owned.count - 1) % workerCount == 0 else {
            throw fault("they are not as many for each worker")
        }
        let place = try inspect(first)
        var seen: Set<UInt64> = []
        for socket in owned {
            guard try inspect(socket) == place else { throw fault("they do not share a port") }
            guard seen.insert(identity(of: socket)).inserted else {
                throw fault("one came twice")
            }
        }
        let family: SocketFamily = place.domain == AF_INET6 ? .dualStack : .ipv4
        let setup = UDPSocketSetup(family: family, mark: 0, buffers: Buffers())
        return UDPSocketGroup(
            owned.map { UDPSocket($0, family: family) }, workerCount: workerCount,
            port: place.port, family: family, offloads: setup.offloads(of: first), fallbacks: [])
    }

    /// What all sockets of a group have in common.
    private struct Place: Equatable {
        var domain: Int32
        var port: UInt16
    }

    private static func inspect(_ socket: OwnedDescriptor) throws(UDPSocketError) -> Place {
        let domain: Int32
        do {
            guard try socket.option(SOL_SOCKET, SO_TYPE) == Int32(CLINUX_SOCK_DGRAM),
                try socket.option(SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDP
            else { throw Errno.invalidArgument }
            domain = try socket.option(SOL_SOCKET, SO_DOMAIN)
        } catch {
            throw fault("one is no UDP socket")
        }
        guard (try? socket.option(SOL_SOCKET, Int32(CLINUX_SO_REUSEPORT))) == 1 else {
            throw fault("one shares its port with none")
        }
        do {
            try socket.setNonblocking()
        } catch {
            throw .failed(operation: "making a socket nonblocking", error)
        }
        let port = UDPSocketSetup.port(of: socket)
        guard let port, port != 0 else { throw fault("one has no port") }
        return Place(domain: domain, port: port)
    }

    private static func identity(of socket: OwnedDescriptor) -> UInt64 {
        var status = stat()
        return unsafe fstat(socket.rawValue, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    private static func fault(_ reason: String) -> UDPSocketError {
        .failed(
            operation: "taking over the sockets of another process (\(reason))", .invalidArgument)
    }
}
