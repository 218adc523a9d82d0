import ControlModel
import FoundationEssentials
import Testing

@testable import Coordinator

/// The description says what the routes are, and the routes are what it says.
@Suite struct OpenAPITests {
    private let routes: [Route]
    private let document: JSONValue

    init() async throws {
        routes = try await TestRoutes.make().all
        let described = routes.first { $0.path == "/openapi.json" }
        #expect(described != nil)
        document = OpenAPIDocument.make(routes, version: "1")
    }

    @Test func everyRouteIsDescribedAndNothingElse() throws {
        let described = operations().map { "\($0.method.uppercased()) \($0.path)" }
        let served = routes.map { "\($0.method.rawValue) \($0.path)" }
        #expect(Set(described) == Set(served))
        #expect(described.count == served.count)
        #expect(served.count > 45)
    }

    @Test func everyDescribedOperationIsRouted() {
        let table = RouteTable(routes)
        for (path, method, _) in operations() {
            let example = path.split(separator: "/").map { $0.hasPrefix("{") ? "x" : $0 }
            let match = table.match(
                .init(rawValue: method.uppercased()) ?? .get, "/\(example.joined(separator: "/"))")
            guard case .route(let route, _) = match else {
                Issue.record("\(method) \(path) leads nowhere")
                continue
            }
            #expect(route.path == path)
        }
    }

    @Test func operationsHaveNamesOfTheirOwn() {
        let ids = routes.map(\.operation.id)
        #expect(Set(ids).count == ids.count)
    }

    @Test func everyReferenceLeadsSomewhere() {
        var references: Set<String> = []
        collect(document, &references)
        #expect(references.count > 50)
        for reference in references {
            var place: JSONValue? = document
            for part in reference.dropFirst(2).split(separator: "/") {
                place = place?[String(part)]
            }
            #expect(place != nil, "\(reference)")
        }
    }

    @Test func everySchemaIsUsed() {
        var references: Set<String> = []
        collect(document, &references)
        for (name, _) in Schemas.all {
            #expect(references.contains("#/components/schemas/\(name)"), "\(name)")
        }
    }

    @Test func bodiesAndRequestsGoTogether() {
        for route in routes {
            #expect(
                (route.body == .none) == (route.operation.request == nil), "\(route.path)")
        }
    }

    @Test func pathParametersAreDescribed() throws {
        for (path, method, operation) in operations() {
            guard case .array(let parameters) = operation["parameters"] ?? [] else { continue }
            let names = parameters.compactMap { parameter -> String? in
                guard case .string(let reference) = parameter["$ref"] else { return nil }
                return reference.split(separator: "/").last.map(String.init)
            }
            for name in OpenAPIDocument.pathParameters(of: path) {
                #expect(names.contains(name), "\(method) \(path)")
            }
        }
    }

    @Test func theMessagesFitTheirSchemas() throws {
        let tenant = CoordinatorAPI.Tenant(
            name: "a", pools: [.init(prefix: "10.0.0.0/8", allocated: 0, capacity: 1)],
            nodeCount: 0, createdAt: 0, revision: 1)
        try expectMembers(of: tenant, in: "Tenant")
        try expectMembers(
            of: CoordinatorAPI.NodeByHand(reservation: "r", chain: "c", name: "n"),
            in: "NodeByHand")
        try expectMembers(
            of: CoordinatorAPI.OrganisationSetup(
                setupCode: "c", root: "r", admin: "a", tokenName: "t"), in: "OrganisationSetup")
        try expectMembers(
            of: CoordinatorAPI.Report(
                appliedNumber: 1, tenantRevocations: 1, organisationRevocations: 1, refusals: [:],
                endpoint: "e", agentVersion: "v"), in: "Report")
        try expectMembers(
            of: CoordinatorAPI.Enrolment(
                chain: "c", name: "n", secretHash: "s", endpoint: "e", agentVersion: "v"),
            in: "Enrolment")
        try expectMembers(
            of: AccessPolicy.Test(from: "a", to: "b", transport: "tcp", port: 1, allowed: true),
            in: "AccessTest")
        try expectMembers(
            of: QoSPolicy.Service(
                name: "n", destination: "d", transport: "tcp", ports: [], trafficClass: "token"),
            in: "QoSService")
        var qos = QoSPolicy()
        qos.priorityPercent = 1
        qos.activationDeadlineMs = 1
        (qos.minimumRate, qos.maximumRate) = (1, 1)
        (qos.believe, qos.links) = ([:], [:])
        (qos.classify, qos.readUsage) = (true, true)
        qos.marking = QoSPolicy.Marking(outer: "off", inner: true, classes: [:])
        qos.budget = QoSPolicy.Budget(bytes: 1, tokens: 1, perSeconds: 1)
        try expectMembers(of: qos, in: "QoSPolicy")
        try expectMembers(of: qos.marking, in: "QoSMarking")
        try expectMembers(of: qos.budget, in: "QoSBudget")
        try expectMembers(
            of: QoSPolicy.NodeLink(
                uplinkRate: 1, downlinkRate: 1, overheadBytes: 1, uplinkMinimumRate: 1),
            in: "QoSLink")
        try expectMembers(
            of: CoordinatorAPI.AuditEntry(
                number: 1, at: 1, actor: "a", action: "a", tenant: "t", subject: "s", details: [:],
                previous: "p", hash: "h"), in: "AuditEntry")
    }

    private func expectMembers(of message: some Encodable, in schema: String) throws {
        let names = try memberNames(of: message)
        guard case .object(let properties) = Schemas.all.first(where: { $0.name == schema })?
            .schema["properties"]
        else {
            Issue.record("no schema \(schema)")
            return
        }
        #expect(Set(properties.map(\.name)) == names, "\(schema)")
    }

    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }

    private func memberNames(of message: some Encodable) throws -> Set<String> {
        let bytes = try APIJSON.encode(message)
        return Set(try JSONDecoder().decode([String: Anything].self, from: Data(bytes)).keys)
    }

    private func operations() -> [(path: String, method: String, operation: JSONValue)] {
        guard case .object(let paths) = document["paths"] else { return [] }
        return paths.flatMap { path -> [(String, String, JSONValue)] in
            guard case .object(let methods) = path.value else { return [] }
            return methods.map { (path.name, $0.name, $0.value) }
        }
    }

    private func collect(_ value: JSONValue, _ references: inout Set<String>) {
        switch value {
        case .object(let members):
            for member in members {
                if member.name == "$ref", case .string(let reference) = member.value {
                    references.insert(reference)
                }
                collect(member.value, &references)
            }
        case .array(let values):
            for value in values { collect(value, &references) }
        case .string, .integer, .bool: break
        }
    }
}
