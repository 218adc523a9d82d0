import Glibc
public import PacketFormats

/// Addresses of hosts, by whatever way the system is set up to find them.
public enum HostLookup {
    /// Why a name has no address.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
        /// Whether asking again later may help.
        public let mayPass: Bool
    }

    /// Waits for the answer, which may take seconds.
    ///
    /// - Returns: The first of its addresses, with the port. getaddrinfo
    public static func endpoint(
        of name: String, port: UInt16
    ) throws(Failure) -> Endpoint {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        unsafe hints.ai_protocol = Int32(IPPROTO_UDP)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(name, nil, &hints, &list)
        guard code == 0 else {
            let isPermanent = [EAI_NONAME, EAI_FAIL, noData].contains(code)
            throw Failure(
                description: unsafe String(cString: gai_strerror(code)), mayPass: !isPermanent)
        }
        // Invariant: the list is valid until freeaddrinfo; each entry's address is of its family.
        defer { unsafe freeaddrinfo(list) }
        var next = unsafe list
        while let entry = unsafe next?.pointee {
            if let endpoint = unsafe endpoint(entry, port: port) { return endpoint }
            unsafe next = entry.ai_next
        }
        throw Failure(description: "it has no IPv4 or IPv6 address", mayPass: false)
    }

    @unsafe
    private static func endpoint(_ entry: addrinfo, port: UInt16) -> Endpoint? {
        guard let address = unsafe entry.ai_addr else { return nil }
        let bytes = UnsafeRawPointer(address)
        let count = Int(unsafe entry.ai_addrlen)
        switch unsafe entry.ai_family {
        case AF_INET where count >= MemoryLayout<sockaddr_in>.size:
            let value = unsafe bytes.loadUnaligned(as: sockaddr_in.self)
            return Endpoint(
                address: IPAddress(ipv4: UInt32(bigEndian: value.sin_addr.s_addr)), port: port)
        case AF_INET6 where count >= MemoryLayout<sockaddr_in6>.size:
            let value = unsafe bytes.loadUnaligned(as: sockaddr_in6.self)
            let halves = unsafe withUnsafeBytes(of: value.sin6_addr) { raw in
                unsafe (
                    UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
                    UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            return Endpoint(
                address: IPAddress(high: halves.0, low: halves.1), port: port,
                scope: value.sin6_scope_id)
        default: return nil
        }
    }

    /// EAI_NODATA, which glibc declares for GNU sources only.
    private static let noData: Int32 = -5
}
