import Glibc
import LinuxNetworking
import PacketFormats
import WireGuardConfiguration

/// Finds the addresses of peers' endpoints.
enum NameResolver {
    /// Looks up a name; waits and tries again where the failure may pass, as at boot.
    ///
    /// WG_ENDPOINT_RESOLUTION_RETRIES sets how often, or `infinity`.
    static func endpoint(of host: HostEndpoint) throws -> Endpoint {
        guard case .name(let name, let port) = host else {
            if case .address(let endpoint) = host { return endpoint }
            throw Failure.failed("\(host) cannot be looked up")
        }
        var retriesLeft = try retriesMax()
        var pauseMicroseconds = pauseMicrosecondsFirst
        while true {
            do {
                return try HostLookup.endpoint(of: name, port: port)
            } catch {
                guard error.mayPass, retriesLeft > 0 else {
                    throw Failure.failed("cannot look up the endpoint \(host): \(error)")
                }
                Console.error("\(host): \(error); trying again")
            }
            retriesLeft -= 1
            usleep(pauseMicroseconds)
            try Interruption.check()
            pauseMicroseconds = min(pauseMicroseconds / 5 * 6, pauseMicrosecondsMax)
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
}
