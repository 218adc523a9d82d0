import ControlModel

/// How a coordinator is to serve.
public struct CoordinatorSettings: Hashable, Sendable {
    /// Where it listens.
    public var host: String
    public var port: Int
    /// How others reach it: `https://host[:port]`.
    public var publicURL: String
    /// What this machine is called.
    public var hostName: String
    /// A certificate chain and its key, both as PEM; without, the coordinator makes its own.
    public var tlsCertificate: String?
    public var tlsKey: String?
    /// An OIDC configuration file.
    public var oidc: String?
    public var limits = HTTPLimits()
    public var version: String

    /// - Throws: `StateFault` where an address is not one.
    public init(
        listen: String, publicURL: String?, hostName: String, tlsCertificate: String?,
        tlsKey: String?, oidc: String?, version: String
    ) throws {
        let pattern = /(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})/
        guard let match = listen.wholeMatch(of: pattern), let port = UInt16(match.2) else {
            throw StateFault("\(listen) is not HOST:PORT, such as 0.0.0.0:8443 or [::]:8443.")
        }
        host = String(match.1.filter { $0 != "[" && $0 != "]" })
        self.port = Int(port)
        self.hostName = hostName
        self.publicURL = publicURL ?? "https://\(Self.urlHost(host, hostName)):\(port)"
        guard ServerNames.host(of: self.publicURL) != nil else {
            throw StateFault(
                "\(self.publicURL) is not https://HOST[:PORT]: give the coordinator's address "
                    + "with --public-url.")
        }
        guard (tlsCertificate == nil) == (tlsKey == nil) else {
            throw StateFault("give both --tls-certificate and --tls-key, or neither.")
        }
        self.tlsCertificate = tlsCertificate
        self.tlsKey = tlsKey
        self.oidc = oidc
        self.version = version
    }

    private static func urlHost(_ host: String, _ hostName: String) -> String {
        if ["0.0.0.0", "::"].contains(host) { return hostName }
        return host.contains(":") ? "[\(host)]" : host
    }
}
