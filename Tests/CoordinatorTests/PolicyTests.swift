import ControlModel
import Testing

@testable import Coordinator

@Suite struct PolicyTests {
    private let policy = AccessPolicy(
        rules: [
            .init(
                name: "models", from: ["plants"], to: ["models"], transport: "tcp",
                ports: ["443", "8000-8100"])
        ],
        tests: [
            .init(from: "plants", to: "models", transport: "tcp", port: 443, allowed: true),
            .init(from: "models", to: "plants", transport: "tcp", port: nil, allowed: false),
        ])

    @Test(arguments: Backend.available)
    func policiesTakeEffectWhenTheirTestsHold(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func set(_ policy: AccessPolicy, _ revision: Int64?) async -> String? {
                await reason {
                    try await world.service.setPolicy(
                        "acme", policy, ifMatch: revision, by: world.owner)
                }
            }
            let node = try await world.node()
            // Groups must exist.
            #expect(await set(policy, 0) == "invalid_request")
            _ = try await world.service.addGroup("acme", .init(name: "models"), by: world.owner)
            #expect(await set(policy, nil) == "revision_required")
            #expect(await set(policy, 1) == "revision_mismatch")
            var wrong = policy
            wrong.rules[0].ports = ["8000"]
            do {
                _ = try await world.service.setPolicy("acme", wrong, ifMatch: 0, by: world.owner)
                Issue.record("a policy that fails its test was taken")
            } catch let problem as CoordinatorAPI.Problem {
                #expect(problem.reason == "policy_tests_failed" && problem.status == 422)
                #expect(problem.failures?.count == 1)
            }
            #expect(await reason {
                try await world.service.testPolicy("acme", wrong, by: world.owner)
            } == "policy_tests_failed")
            #expect(try await world.service.policy("acme", by: world.owner).revision == 0)
            #expect(await set(policy, 0) == nil)
            let stored = try await world.service.policy("acme", by: world.owner)
            #expect(stored.policy == policy && stored.revision == 1)
            let state = try await world.service.networkState(try await world.identity(node))
            #expect(state.state.policy == policy)
            #expect(await reason {
                try await world.service.removeGroup("acme", "models", by: world.owner)
            } == "in_use")
            #expect(await set(.init(rules: [], tests: []), 1) == nil)
            try await world.service.removeGroup("acme", "models", by: world.owner)
            #expect(try await world.service.newestNumber("acme") == 3)
        }
    }

    @Test(arguments: Backend.available)
    func servicesAreKeptApartFromGroups(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            var policy = AccessPolicy(
                rules: [
                    .init(
                        name: "chat", from: ["plants"], to: ["chat"], transport: "tcp",
                        ports: ["443"])
                ],
                tests: [
                    .init(from: "plants", to: "chat", transport: "tcp", port: 443, allowed: true)
                ], services: [.init(name: "chat", destinations: ["10.9.0.0/24"])])
            _ = try await world.service.setPolicy("acme", policy, ifMatch: 0, by: world.owner)
            let state = try await world.service.networkState(try await world.identity(node))
            #expect(state.state.policy == policy)
            #expect(await reason {
                try await world.service.addGroup("acme", .init(name: "chat"), by: world.owner)
            } == "already_exists")
            policy.services?[0].name = "plants"
            #expect(await reason {
                try await world.service.setPolicy("acme", policy, ifMatch: 1, by: world.owner)
            } == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func qosPoliciesAreCheckedAndTold(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            var qos = QoSPolicy(
                services: [
                    .init(
                        name: "vllm", destination: "10.1.0.0/16", transport: "tcp",
                        ports: ["8000"], trafficClass: "token")
                ], weights: ["bulk": 10], minimumRate: 1, maximumRate: 1_000)
            let revision = try await world.service.setQoS(
                "acme", qos, ifMatch: 0, by: world.owner)
            #expect(revision == 1)
            #expect(try await world.service.qos("acme", by: world.owner).policy == qos)
            qos.minimumRate = 2_000
            #expect(await reason {
                try await world.service.setQoS("acme", qos, ifMatch: 1, by: world.owner)
            } == "invalid_request")
            #expect(await reason {
                try await world.service.setQoS(
                    "acme", QoSPolicy(
                        services: [], weights: [:], minimumRate: nil, maximumRate: nil),
                    ifMatch: 0, by: world.owner)
            } == "revision_mismatch")
        }
    }

    @Test(arguments: Backend.available)
    func wholeQoSPoliciesAreKeptAndContradictionsNamed(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            var qos = QoSPolicy()
            qos.links = ["plant-7": .init(uplinkRate: 8_000, downlinkRate: 9_000)]
            qos.marking = .init(outer: "class", inner: true, classes: ["token": "EF"])
            qos.budget = .init(tokens: 5)
            qos.believe = ["AF31": "activation"]
            _ = try await world.service.setQoS("acme", qos, ifMatch: 0, by: world.owner)
            #expect(try await world.service.qos("acme", by: world.owner).policy == qos)
            let state = try await world.service.networkState(try await world.identity(node))
            #expect(state.state.qos == qos)
            qos.believe = ["EF": "bulk"]
            qos.links?["plant-7"]?.uplinkRate = 7_999
            do {
                _ = try await world.service.setQoS("acme", qos, ifMatch: 1, by: world.owner)
                Issue.record("a contradiction was taken")
            } catch let problem as CoordinatorAPI.Problem {
                #expect(problem.reason == "invalid_request")
                #expect(problem.failures == [
                    "marking: EF is written for token, and believed to be bulk",
                    "link of plant-7: uplink_rate is 8000 to 10000000000000 bits per second",
                ])
            }
        }
    }

    @Test(arguments: Backend.available)
    func unusedTokensKeepTheirGroups(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try await world.token { $0.groups = ["plants"] }
            #expect(await reason {
                try await world.service.removeGroup("acme", "plants", by: world.owner)
            } == "in_use")
            try await world.service.revokeToken("acme", token.claims.id, by: world.owner)
            try await world.service.removeGroup("acme", "plants", by: world.owner)
            #expect(await reason {
                try await world.service.removeGroup("acme", "plants", by: world.owner)
            } == "not_found")
        }
    }
}
