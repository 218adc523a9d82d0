import EgressScheduling
import Foundation
import LinuxNetworking
import Testing
import WireGuardConfiguration

@testable import Gateway

@Suite struct GatewayFolderTests {
    private let folder = GatewayFolder(
        path: NSTemporaryDirectory() + "gateway-\(UUID().uuidString)")

    init() throws { try folder.create() }

    private func domain(_ tenant: String, _ interface: String? = nil) -> TenantDomain {
        TenantDomain(
            tenant: tenant, interface: interface ?? "\(tenant)0", place: .namespace(tenant),
            addresses: [AddressSetting("10.0.0.1/24")].compactMap { $0 })
    }

    private func write(_ text: String, to name: String, mode: Int = 0o600) throws {
        let path = folder.file(name)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private func fault(of tenant: String) -> TenantFault? {
        guard case .failure(let fault) = folder.entry(of: tenant).outcome else { return nil }
        return fault
    }

    @Test func whatIsSavedIsRead() throws {
        let first = try folder.save(domain("acme")), second = try folder.save(domain("beta"))
        try folder.save(GatewaySettings(listenPort: 4_000, firewallMark: 7, workers: 2))
        let entries = folder.read()
        #expect(entries.map(\.tenant) == ["acme", "beta"])
        #expect(entries.map(\.definition) == [first, second])
        #expect(try entries[1].outcome.get() == domain("beta"))
        #expect(try folder.settings().listenPort == 4_000)
        try folder.removeTenant("acme")
        #expect(folder.read().map(\.tenant) == ["beta"])
        let mode = try FileManager.default.attributesOfItem(atPath: folder.file("beta"))
        #expect(mode[.posixPermissions] as? Int == 0o600)
    }

    @Test func brokenFileIsItsTenantsAlone() throws {
        try folder.save(domain("beta"))
        try write(#"{"tenant":"acme","#, to: "acme")
        let entries = folder.read()
        #expect(entries.map(\.tenant) == ["acme", "beta"])
        #expect(fault(of: "acme")?.kind == .fileBroken)
        #expect(fault(of: "acme")?.detail.contains("acme.json") == true)
        #expect((try? entries[1].outcome.get()) != nil)
    }

    @Test func fileOfAnotherTenantIsRefused() throws {
        let bytes = try GatewayJSON.encode(domain("beta"))
        try write(String(decoding: bytes, as: UTF8.self), to: "acme")
        #expect(fault(of: "acme")?.kind == .nameMismatch)
    }

    @Test func fileThatOthersMayUseIsRefused() throws {
        try folder.save(domain("acme"))
        try write("{}", to: "beta", mode: 0o644)
        #expect(fault(of: "beta")?.kind == .fileUnreadable)
        #expect(fault(of: "beta")?.detail.contains("644") == true)
        try FileManager.default.createDirectory(
            atPath: folder.file("gamma"), withIntermediateDirectories: false)
        #expect(fault(of: "gamma")?.kind == .fileUnreadable)
        #expect(fault(of: "acme") == nil)
    }

    @Test func hugeFileIsRefused() throws {
        try write(String(repeating: " ", count: 65_537), to: "acme")
        #expect(fault(of: "acme")?.kind == .fileUnreadable)
        try write(String(repeating: " ", count: 65_536), to: "acme")
        #expect(fault(of: "acme")?.kind == .fileBroken)
    }

    @Test func settingsAreChecked() throws {
        #expect(try folder.settings() == GatewaySettings())
        for text in [
            #"{"listenPort":0}"#, #"{"listenPort":65536}"#, #"{"port":1}"#, #"{"workers":0}"#, "{",
            #"{"link":{}}"#, #"{"link":{"rate":0}}"#, #"{"link":{"rate":7999}}"#,
            #"{"link":{"rate":10000000000001}}"#, #"{"link":{"rate":8000,"overhead_bytes":1}}"#,
            #"{"link":{"rate":8000,"overheadBytes":-1}}"#,
            #"{"link":{"rate":8000,"overheadBytes":257}}"#,
            #"{"link":{"rate":9000,"minimumRate":7999}}"#,
            #"{"link":{"rate":9000,"minimumRate":9000}}"#,
            #"{"link":{"rate":9000,"minimum_rate":8000}}"#,
        ] {
            try write(text, to: "gateway")
            #expect(throws: TenantFault.self, "\(text)") { try folder.settings() }
        }
        try write(#"{"listenPort":65535,"workers":null}"#, to: "gateway")
        #expect(try folder.settings().listenPort == 65_535)
    }

    @Test func theLineIsReadAndWritten() throws {
        try write(#"{"link":{"rate":8000}}"#, to: "gateway")
        let settings = try folder.settings()
        #expect(settings.link == .init(rate: 8_000, overheadBytes: 14))
        #expect(settings.link?.line == QoSSettings.Link(bitsPerSecond: 8_000))
        try folder.save(
            GatewaySettings(link: .init(rate: 10_000_000_000_000, overheadBytes: 256)))
        #expect(try folder.settings().link?.overheadBytes == 256)
        try folder.save(GatewaySettings(link: .init(rate: 8_001, minimumRate: 8_000)))
        let followed = try folder.settings().link?.line
        #expect(followed == .init(bitsPerSecond: 8_001, minimumBitsPerSecond: 8_000))
        try folder.save(GatewaySettings())
        let text = try String(contentsOfFile: folder.file("gateway"), encoding: .utf8)
        #expect(!text.contains("link"))
    }

    @Test func filesOfTheGatewayAreNoTenants() throws {
        try folder.save(GatewaySettings())
        try folder.save(
            GatewayStatus(
                processIdentifier: 1, startedAt: 2, updatedAt: 3, settings: GatewaySettings(),
                readings: 1, notes: [], tenants: []))
        #expect(folder.read().isEmpty)
        #expect(folder.status()?.processIdentifier == 1)
        #expect(!folder.hasTenant("gateway") && !folder.hasTenant("../gateway/acme"))
    }

    @Test func folderIsServedOnce() throws {
        #expect(!folder.isServed)
        let lock = try folder.lock()
        #expect(folder.isServed)
        #expect(throws: PrivateFolder.Fault.inUse(path: folder.path)) {
            try folder.lock(waitNanosecondsMax: 0)
        }
        withExtendedLifetime(lock) {}
    }

    // MARK: - Side by side

    @Test func oneInterfaceOrPlaceIsOneTenants() throws {
        try folder.save(domain("acme"))
        try folder.save(domain("beta", "acme0"))
        var gamma = domain("gamma")
        gamma.place = .namespace("/run/netns/acme")
        try folder.save(gamma)
        try folder.save(domain("delta"))
        let outcomes = GatewayReview.review(folder.read())
        #expect(kind(outcomes["acme"]) == nil && kind(outcomes["delta"]) == nil)
        #expect(kind(outcomes["beta"]) == .duplicateInterface)
        #expect(kind(outcomes["gamma"]) == .duplicatePlace)
        // Whoever is served keeps what it has.
        let later = GatewayReview.review(
            folder.read(), served: ["beta": domain("beta", "acme0"), "gamma": gamma])
        #expect(kind(later["beta"]) == nil && kind(later["gamma"]) == nil)
        #expect(kind(later["acme"]) == .duplicateInterface)
    }

    @Test func keysAreOneTenants() throws {
        var acme = domain("acme"), beta = domain("beta")
        acme.configuration = "/etc/branchline/x.conf"
        beta.configuration = "/etc/branchline/x.conf"
        try folder.save(acme)
        try folder.save(beta)
        #expect(kind(GatewayReview.review(folder.read())["beta"]) == .duplicateSource)
    }

    private func kind(_ outcome: Result<TenantDomain, TenantFault>?) -> TenantFault.Kind? {
        guard case .failure(let fault) = outcome else { return nil }
        return fault.kind
    }
}
