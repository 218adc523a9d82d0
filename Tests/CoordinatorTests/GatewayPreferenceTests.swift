import ControlModel
import Cryptography
import Testing

@testable import Coordinator

/// Priority, weight and health targets of gateways, from the admin to whoever uses them.
@Suite struct GatewayPreferenceTests {
    @Test(arguments: Backend.available)
    func branchesAreToldAtOnceAndInWholeStates(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let branch = try await world.node()
            let before = try await world.service.node("acme", gateway.verifying, by: world.owner)
            #expect(before.priority == nil && before.weight == nil && before.health == nil)
            let number = try await world.service.newestNumber("acme")
            let changed = try await world.service.changeNode(
                "acme", gateway.verifying,
                .init(priority: 10, weight: 3, health: ["tcp:10.0.0.5:443", "icmp:10.0.0.6"]),
                ifMatch: before.revision, by: world.owner)
            #expect(changed.priority == 10 && changed.weight == 3)
            #expect(changed.health == ["icmp:10.0.0.6", "tcp:10.0.0.5:443"])
            let change = try #require(
                await world.service.changes("acme", after: number, limit: 10).first)
            #expect(change.audience == .others)
            let told = try APIJSON.decode(CoordinatorAPI.NetworkChange.self, from: change.payload)
            let state = try await world.service.networkState(try await world.identity(branch))
            for peer in [told.peer, state.state.peers.first] {
                #expect(peer?.priority == 10 && peer?.weight == 3)
                #expect(peer?.health == ["icmp:10.0.0.6", "tcp:10.0.0.5:443"])
            }
            // Another change leaves them, and an empty list takes the targets away.
            let renamed = try await world.service.changeNode(
                "acme", gateway.verifying, .init(name: "hq-9"), ifMatch: changed.revision,
                by: world.owner)
            #expect(renamed.priority == 10 && renamed.health?.count == 2)
            let cleared = try await world.service.changeNode(
                "acme", gateway.verifying, .init(weight: 0, health: []),
                ifMatch: renamed.revision, by: world.owner)
            #expect(cleared.priority == 10 && cleared.weight == 0 && cleared.health == nil)
        }
    }

    @Test(arguments: Backend.available)
    func aNewGrantKeepsThem(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            _ = try await world.service.changeNode(
                "acme", gateway.verifying, .init(priority: 7, health: ["icmp:10.0.0.6"]),
                ifMatch: 1, by: world.owner)
            let number = try await world.service.newestNumber("acme")
            let renewed = try await world.service.setGrant(
                "acme", gateway.verifying, try world.grant(gateway), by: world.owner)
            #expect(renewed.priority == 7 && renewed.health == ["icmp:10.0.0.6"])
            let changes = try await world.service.changes("acme", after: number, limit: 10)
            let told = try changes.map {
                try APIJSON.decode(CoordinatorAPI.NetworkChange.self, from: $0.payload)
            }.compactMap(\.peer)
            #expect(told.map(\.priority) == [7])
        }
    }

    @Test(arguments: Backend.available)
    func whatMakesNoSenseIsRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway), branch = try await world.node()
            func refusal(
                _ change: CoordinatorAPI.NodeChange, of node: World.Node
            ) async -> String? {
                await reason {
                    try await world.service.changeNode(
                        "acme", node.verifying, change, ifMatch: 1, by: world.owner)
                }
            }
            for change: CoordinatorAPI.NodeChange in [
                .init(priority: -1), .init(priority: 65_536), .init(weight: -1),
                .init(weight: 1_001), .init(health: ["icmp:"]), .init(health: ["udp:10.0.0.1:5"]),
                .init(health: ["tcp:10.0.0.1"]), .init(health: ["tcp:10.0.0.1:0"]),
                .init(health: ["icmp:224.0.0.1"]), .init(health: ["icmp:hq.example"]),
                .init(health: (1...9).map { "icmp:10.0.0.\($0)" }),
            ] {
                #expect(await refusal(change, of: gateway) == "invalid_request", "\(change)")
            }
            #expect(await refusal(.init(priority: 1), of: branch) == "invalid_request")
            #expect(await refusal(.init(health: []), of: branch) == "invalid_request")
            let limits = CoordinatorAPI.NodeChange(
                priority: 65_535, weight: 1_000, health: (1...8).map { "icmp:10.0.0.\($0)" })
            #expect(await refusal(limits, of: gateway) == nil)
        }
    }
}
