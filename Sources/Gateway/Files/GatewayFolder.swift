public import LinuxNetworking
import Cryptography
import SystemPackage

/// The folder of a gateway: `NAME.json` of each tenant and `NAME.peers`, where its peers were last
/// (``PeerPlaces``); `gateway.json` and `status.json`.
///
/// Every file is replaced in one step and is its owner's alone, as is the folder.
public struct GatewayFolder: Hashable, Sendable {
    /// One tenant's file.
    public struct Entry: Sendable {
        public let tenant: String
        public let outcome: Result<TenantDomain, TenantFault>
        /// Names the file's contents.
        public let definition: String

        public init(
            tenant: String, outcome: Result<TenantDomain, TenantFault>, definition: String
        ) {
            self.tenant = tenant
            self.outcome = outcome
            self.definition = definition
        }
    }

    public let path: String

    public init(path: String) { self.path = path }

    /// Under `$BRANCHLINE_STATE`, or `/var/lib/branchline`.
    public static func standard(stateFolder: String?) -> GatewayFolder {
        GatewayFolder(path: "\(stateFolder ?? defaultStateFolder)/gateway")
    }

    public static let defaultStateFolder = "/var/lib/branchline"
    static let reservedNames: Set<String> = ["gateway", "status"]

    /// Where the gateway that runs hands over to a newer process.
    public var handoverPath: String { "\(path)/handover" }

    public var exists: Bool { PrivateFolder.exists(path) }

    public func create() throws(PrivateFolder.Fault) {
        if exists { return try PrivateFolder.check(path) }
        do {
            try PrivateFolder.create(path)
        } catch {
            throw .system(path: path, error)
        }
    }

    /// Keeps other gateways out, for as long as the lock lives.
    public func lock(waitNanosecondsMax: UInt64 = 3_000_000_000) throws(PrivateFolder.Fault)
        -> PrivateFolder.Lock
    {
        try PrivateFolder.check(path)
        return try PrivateFolder.Lock(path, waitNanosecondsMax: waitNanosecondsMax)
    }

    /// Whether a gateway serves the folder.
    public var isServed: Bool {
        do throws(PrivateFolder.Fault) {
            _ = try PrivateFolder.Lock(path, waitNanosecondsMax: 0)
            return false
        } catch {
            if case .inUse = error { return true }
            return false
        }
    }

    // MARK: - Tenants

    /// Every tenant's file, by name; what is wrong with one is in its entry.
    public func read() -> [Entry] {
        tenants.prefix(GatewayLimits.tenantsMax + 1).enumerated().map { index, name in
            guard index < GatewayLimits.tenantsMax else {
                return Entry(
                    tenant: name,
                    outcome: .failure(
                        TenantFault(
                            .tooManyTenants,
                            "a gateway has \(GatewayLimits.tenantsMax) tenants at most; \(name) "
                                + "and what follows it are left out")),
                    definition: "")
            }
            return entry(of: name)
        }
    }

    /// The names of tenants that have files, sorted.
    public var tenants: [String] {
        PrivateFolder.entries(path).filter { $0.hasSuffix(Self.suffix) }
            .map { String($0.dropLast(Self.suffix.count)) }
            .filter { !Self.reservedNames.contains($0) && !$0.hasPrefix(".") }
    }

    public func hasTenant(_ name: String) -> Bool {
        TenantDomain.nameFault(name) == nil && PrivateFolder.exists(file(name))
    }

    public func entry(of name: String) -> Entry {
        let bytes: [UInt8]
        do throws(PrivateFolder.Fault) {
            bytes = try PrivateFolder.read(
                file(name), byteCountMax: GatewayLimits.tenantFileBytesMax)
        } catch {
            return Entry(
                tenant: name, outcome: .failure(Self.fault(of: error)), definition: "")
        }
        let outcome: Result<TenantDomain, TenantFault>
        do throws(TenantFault) {
            outcome = .success(try Self.domain(named: name, from: bytes))
        } catch {
            let words = "\(file(name)): \(error.detail)"
            outcome = .failure(TenantFault(error.kind, words))
        }
        return Entry(tenant: name, outcome: outcome, definition: Self.digest(of: bytes))
    }

    private static func domain(
        named name: String, from bytes: [UInt8]
    ) throws(TenantFault) -> TenantDomain {
        let domain = try GatewayJSON.decode(TenantDomain.self, from: bytes)
        guard domain.tenant == name else {
            throw TenantFault(
                .nameMismatch,
                "it is named \(name).json and of the tenant \"\(domain.tenant)\"; rename one")
        }
        if let fault = domain.fault() { throw fault }
        return domain
    }

    /// A reader that is out of descriptors or memory says so; the file may be well.
    private static func fault(of error: PrivateFolder.Fault) -> TenantFault {
        if case .system(_, let errno) = error, let fault = TenantFault(exhausted: errno) {
            return fault
        }
        return TenantFault(.fileUnreadable, "\(error)")
    }

    /// - Returns: What names the file's contents from now on.
    @discardableResult
    public func save(_ domain: TenantDomain) throws -> String {
        if let fault = domain.fault() { throw fault }
        let bytes = try GatewayJSON.encode(domain)
        try replace(file(domain.tenant), with: bytes)
        return Self.digest(of: bytes)
    }

    public func removeTenant(_ name: String) throws(PrivateFolder.Fault) {
        do {
            try PrivateFolder.wipe(file(name))
            removePlaces(of: name)
            try PrivateFolder.synchronize(path)
        } catch {
            throw .system(path: file(name), error)
        }
    }

    /// Where a tenant's peers were last.
    func placesFile(of name: String) -> String { "\(path)/\(name).peers" }

    func removePlaces(of name: String) {
        let file = placesFile(of: name)
        if PrivateFolder.exists(file) { try? PrivateFolder.wipe(file) }
    }

    // MARK: - Settings and status

    /// - Returns: The defaults where there is no file.
    public func settings() throws(TenantFault) -> GatewaySettings {
        let file = file("gateway")
        guard PrivateFolder.exists(file) else { return GatewaySettings() }
        let bytes: [UInt8]
        do {
            bytes = try PrivateFolder.read(file, byteCountMax: GatewayLimits.tenantFileBytesMax)
        } catch {
            throw TenantFault(.fileUnreadable, "\(error)")
        }
        do throws(TenantFault) {
            let settings = try GatewayJSON.decode(GatewaySettings.self, from: bytes)
            if let fault = settings.fault() { throw fault }
            return settings
        } catch {
            throw TenantFault(error.kind, "\(file): \(error.detail)")
        }
    }

    public func save(_ settings: GatewaySettings) throws {
        if let fault = settings.fault() { throw fault }
        try replace(file("gateway"), with: try GatewayJSON.encode(settings))
    }

    /// Goes back to the defaults.
    public func removeSettings() throws {
        let file = file("gateway")
        guard PrivateFolder.exists(file) else { return }
        do {
            try PrivateFolder.wipe(file)
            try PrivateFolder.synchronize(path)
        } catch {
            throw PrivateFolder.Fault.system(path: file, error)
        }
    }

    public func status() -> GatewayStatus? {
        guard
            let bytes = try? PrivateFolder.read(
                file("status"), byteCountMax: GatewayLimits.statusBytesMax)
        else { return nil }
        return try? GatewayJSON.decode(GatewayStatus.self, from: bytes)
    }

    public func save(_ status: GatewayStatus) throws {
        // What is only told does not have to outlast a loss of power.
        try PrivateFile.replace(file("status"), with: try GatewayJSON.encode(status))
    }

    public func file(_ name: String) -> String { "\(path)/\(name)\(Self.suffix)" }

    private func replace(_ file: String, with bytes: [UInt8]) throws {
        do {
            try PrivateFile.replace(file, with: bytes)
            try PrivateFolder.synchronize(path)
        } catch {
            throw PrivateFolder.Fault.system(path: file, error)
        }
    }

    private static func digest(of bytes: [UInt8]) -> String {
        SHA256.hash(bytes).prefix(8).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    private static let suffix = ".json"
}

extension TenantFault {
    /// - Returns: `nil` for what is no lack of descriptors or memory.
    init?(exhausted errno: Errno) {
        switch errno {
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
            self.init(
                .descriptorsExhausted,
                "there are no file descriptors left for it (\(errno)); raise the limit "
                    + "(LimitNOFILE= of the service, or ulimit -n)")
        case .noMemory, .noBufferSpace:
            self.init(
                .memoryExhausted,
                "the system has no memory left for it (\(errno)); it is tried again")
        default: return nil
        }
    }
}
