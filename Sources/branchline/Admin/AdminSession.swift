import ControlModel
import CoordinatorClient
import Foundation

/// One command's talk with the coordinator that the admin is logged in to.
struct AdminSession: Sendable {
    let folder: AdminFolder
    let login: Login
    let client: CoordinatorClient

    /// Runs a command's part that needs the coordinator; errors come out as failures.
    static func run<Value: Sendable>(
        _ body: (AdminSession) async throws -> Value
    ) async throws -> Value {
        let folder = try AdminFolder()
        guard let login = try Login(folder) else {
            throw Failure.failed(
                "you are not logged in to a coordinator; run `branchline admin init URL` to set "
                    + "one up, or `branchline admin accept` with what another admin gave you")
        }
        guard let token = login.apiToken else {
            throw Failure.failed(
                "you are logged out of \(login.coordinator); log in with `branchline admin login`")
        }
        return try await withClient(login.coordinator, login.serverPin, token) { client in
            try await body(AdminSession(folder: folder, login: login, client: client))
        }
    }

    /// Lends a client and ends it.
    static func withClient<Value: Sendable>(
        _ coordinator: String, _ pin: ServerPin?, _ credential: String?,
        _ body: (CoordinatorClient) async throws -> Value
    ) async throws -> Value {
        do {
            let client = try CoordinatorClient(
                coordinator: coordinator, pin: pin, credential: credential)
            do {
                let value = try await body(client)
                await client.shutDown()
                return value
            } catch {
                await client.shutDown()
                throw error
            }
        } catch {
            throw Failure(coordinator: error) ?? error
        }
    }

    /// In Unix seconds.
    var now: Int64 { Int64(Date().timeIntervalSince1970) }

    func get<Answer: Decodable>(
        _ path: String, query: [(String, String)] = []
    ) async throws -> Answer {
        try await client.call(.get, path, query: query).answer
    }

    /// All entries of a list.
    func all<Item: Codable & Hashable & Sendable>(
        _ path: String, query: [(String, String)] = []
    ) async throws -> [Item] {
        var items: [Item] = []
        try await pages(of: Item.self, path, query: query) { page in
            items += page
            guard items.count <= Self.itemsMax else {
                throw ClientFault.notACoordinator("its list has no end")
            }
        }
        return items
    }

    /// Lends a list page by page.
    func pages<Item: Codable & Hashable & Sendable>(
        of type: Item.Type, _ path: String, query: [(String, String)] = [],
        _ body: ([Item]) throws -> Void
    ) async throws {
        var after: String?
        repeat {
            var fields = query + [("limit", String(Self.pageCount))]
            if let after { fields.append(("after", after)) }
            let page: CoordinatorAPI.Page<Item> = try await client.call(
                .get, path, query: fields, timeoutSeconds: 30
            ).answer
            try body(page.items)
            // A server whose pages lead nowhere is none.
            guard page.next == nil || page.next != after && !page.items.isEmpty else {
                throw ClientFault.notACoordinator("its list has no end")
            }
            after = page.next
        } while after != nil
    }

    /// The tenant that is meant: the one named, or the only one.
    func tenant(_ option: TenantOption) async throws -> Name {
        if let tenant = option.tenant { return tenant }
        let tenants = try await tenants(option)
        guard let tenant = tenants.first else {
            throw Failure.failed(
                "there is no tenant; make one with `branchline tenant add NAME --pool NETWORK`")
        }
        guard tenants.count == 1 else {
            let names = tenants.prefix(10).map(\.text).joined(separator: ", ")
            throw Failure.badInput("there are several tenants; give --tenant, one of \(names)")
        }
        return tenant
    }

    /// The tenants that are meant: the one named, or all.
    func tenants(_ option: TenantOption) async throws -> [Name] {
        if let tenant = option.tenant { return [tenant] }
        return try await allTenants()
    }

    func allTenants() async throws -> [Name] {
        let tenants: [CoordinatorAPI.Tenant] = try await all("/v1/tenants")
        return tenants.compactMap { Name($0.name) }
    }

    private static let pageCount = 500
    private static let itemsMax = 1_000_000
}
