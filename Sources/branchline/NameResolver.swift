import Glibc
import PacketFormats
import WireGuardConfiguration

/// Finds the addresses of peers' endpoints.
enum NameResolver {
    /// Looks up a name; waits and tries again where the failure may pass, as at boot.
    ///
    /// WG_ENDPOINT_RESOLUTION_RETRIES sets how often, or `infinity`. getaddrinfo(3)
    static func endpoint(of host: HostEndpoint) throws -> Endpoint {
        guard case .name(let name, let port) = host else {
            if case .address(let endpoint) = host { return endpoint }
            throw Failure.failed("\(host) cannot be looked up")
        }
        var retriesLeft = try retriesMax()
        var pauseMicroseconds = pauseMicrosecondsFirst
        while true {
            switch lookUp(name, port: port) {
            case .found(let endpoint): return endpoint
            case .failed(let reason, let mayPass):
                guard mayPass, retriesLeft > 0 else {
                    throw Failure.failed("cannot look up the endpoint \(host): \(reason)")
                }
                Console.error("\(host): \(reason); trying again")
            }
            retriesLeft -= 1
            usleep(pauseMicroseconds)
            try Interruption.check()
            pauseMicroseconds = min(pauseMicroseconds / 5 * 6, pauseMicrosecondsMax)
        }
    }

    private enum Answer {
        case found(Endpoint)
        case failed(reason: String, mayPass: Bool)
    }

    private static func lookUp(_ name: String, port: UInt16) -> Answer {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        unsafe hints.ai_protocol = Int32(IPPROTO_UDP)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(name, nil, &hints, &list)
        guard code == 0 else {
            let permanent = [EAI_NONAME, EAI_FAIL, noData]
            return .failed(
                reason: unsafe String(cString: gai_strerror(code)),
                mayPass: !permanent.contains(code))
        }
        // Invariant: the list is valid until freeaddrinfo; each entry's address is of its family.
        defer { unsafe freeaddrinfo(list) }
        var next = unsafe list
        while let entry = unsafe next?.pointee {
            if let endpoint = unsafe endpoint(entry, port: port) { return .found(endpoint) }
            unsafe next = entry.ai_next
        }
        return .failed(reason: "it has no IPv4 or IPv6 address", mayPass: false)
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

    private static func retriesMax() throws -> Int {
        guard let text = environment("WG_ENDPOINT_RESOLUTION_RETRIES") else { return 15 }
        if text == "infinity" { return .max }
        guard let retries = Int(text), retries >= 0 else {
            throw Failure.badInput(
                "WG_ENDPOINT_RESOLUTION_RETRIES is \(text); accepted: infinity or a number from 0")
        }
        return retries
    }

    private static let pauseMicrosecondsFirst: UInt32 = 1_000_000
    private static let pauseMicrosecondsMax: UInt32 = 20_000_000
    /// EAI_NODATA, which glibc declares for GNU sources only.
    private static let noData: Int32 = -5
}
