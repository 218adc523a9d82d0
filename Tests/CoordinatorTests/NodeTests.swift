import ControlModel
import Cryptography
import PacketFormats
import Testing

@testable import Coordinator

@Suite struct NodeTests {
    @Test(arguments: Backend.available)
    func gatewaysAndOthersSeeEachOther(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let branch = try await world.node()
            let client = try await world.node(role: .client)
            func peers(_ node: World.Node) async throws -> Set<String> {
                let state = try await world.service.networkState(try await world.identity(node))
                #expect(state.number == 3)
                return Set(state.state.peers.map(\.node))
            }
            let branches = Set([branch, client].map(\.verifying.base64URL))
            #expect(try await peers(gateway) == branches)
            #expect(try await peers(branch) == [gateway.verifying.base64URL])
            #expect(try await peers(client) == [gateway.verifying.base64URL])
            let changes = try await world.service.changes("acme", after: 0, limit: 10)
            #expect(changes.map(\.audience) == [.others, .gateways, .gateways])
            #expect(try await world.service.changes("beta", after: 0, limit: 10).isEmpty)
            #expect(try await world.service.oldestNumber("acme") == 1)
            #expect(try await world.service.oldestNumber("beta") == 1)
        }
    }

    @Test(arguments: Backend.available)
    func requestsWaitForApproval(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let node = try await world.node(approval: true)
            #expect(try await world.state(node) == .pending)
            #expect(try await world.service.newestNumber("acme") == 1)
            let state = try await world.service.networkState(try await world.identity(node))
            #expect(state.state.peers.isEmpty)
            let approved = try await world.service.setGrant(
                "acme", node.verifying, try world.grant(node), by: world.owner)
            #expect(approved.state == .active)
            let changes = try await world.service.changes("acme", after: 1, limit: 10)
            #expect(changes.map(\.audience) == [
                .node(node.verifying), .node(node.verifying), .gateways,
            ])
            let payloads = try changes.map {
                try APIJSON.decode(CoordinatorAPI.NetworkChange.self, from: $0.payload)
            }
            #expect(payloads[0].own == approved.chain)
            #expect(payloads[1].peer?.node == gateway.verifying.base64URL)
            #expect(payloads[2].peer?.chain == approved.chain)
        }
    }

    @Test(arguments: Backend.available)
    func newGrantsAreNewerAndForTheSameNode(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node(), other = try await world.node()
            func set(
                serial: Int64? = nil, _ change: (inout Grant) -> Void = { _ in }
            ) async throws -> String? {
                let grant = try world.grant(node, serial: serial, change)
                return await reason {
                    try await world.service.setGrant("acme", node.verifying, grant, by: world.owner)
                }
            }
            #expect(try await set(serial: node.grant.serial) == "serialReused")
            #expect(try await set(serial: node.grant.serial - 1) == "superseded")
            #expect(try await set { $0.tenant = "beta" } == "mixedTenant")
            #expect(try await set { $0.role = .client } == "roleOutOfScope")
            #expect(try await set { $0.addresses = other.grant.addresses } == "addressOutOfScope")
            #expect(try await set { $0.addresses = [] } == "addressOutOfScope")
            #expect(try await set { $0.groups = ["nobody"] } == "not_found")
            #expect(try await set { $0.node = other.verifying } == "keyNotAllowed")
            #expect(try await set { $0.publicKey = other.grant.publicKey } == "in_use")
            #expect(try await set(serial: node.grant.serial + 1) { $0.groups = ["plants"] } == nil)
            let groups = try await world.service.groups(
                "acme", by: world.owner, after: nil, limit: 5)
            #expect(groups.items.map(\.nodeCount) == [1])
            // The very same one again changes nothing.
            let grant = try world.grant(node, serial: world.now - 20)
            let first = try await world.service.setGrant(
                "acme", node.verifying, grant, by: world.owner)
            let again = try await world.service.setGrant(
                "acme", node.verifying, grant, by: world.owner)
            #expect(first == again)
        }
    }

    @Test(arguments: Backend.available)
    func suspendedNodesComeBackWithANewGrant(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let node = try await world.node()
            try await world.revoke([
                world.revocation(of: .node(node.verifying), serial: node.grant.serial)
            ])
            #expect(try await world.state(node) == .suspended)
            #expect(try await world.state(gateway) == .active)
            #expect(try await world.identity(node).state == .suspended)
            let changes = try await world.service.changes("acme", after: 2, limit: 10)
            #expect(changes.map(\.audience) == [.all, .gateways])
            let removed = try APIJSON.decode(
                CoordinatorAPI.NetworkChange.self, from: changes[1].payload)
            #expect(removed.peerRemoved == node.verifying.base64URL)
            // Its addresses stay its own.
            let tenant = try await world.service.tenant("acme", by: world.owner)
            #expect(tenant.nodeCount == 2 && tenant.pools[0].allocated == 2)
            let grant = try world.grant(node, serial: node.grant.serial)
            #expect(await reason {
                try await world.service.setGrant("acme", node.verifying, grant, by: world.owner)
            } == "nodeRevoked")
            let resumed = try await world.service.setGrant(
                "acme", node.verifying, try world.grant(node), by: world.owner)
            #expect(resumed.state == .active)
        }
    }

    @Test(arguments: Backend.available)
    func revokedNodesGiveTheirAddressesBack(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node { $0.groups = ["plants"] }
            #expect(await reason {
                try await world.service.deleteNode("acme", node.verifying, by: world.owner)
            } == "in_use")
            #expect(await reason {
                try await world.service.removeGroup("acme", "plants", by: world.owner)
            } == "in_use")
            try await world.revoke([
                world.revocation(of: .node(node.verifying)),
                world.revocation(of: .publicKey(node.grant.publicKey)),
            ])
            #expect(try await world.state(node) == .revoked)
            #expect(await reason { try await world.identity(node) } == "node_revoked")
            let tenant = try await world.service.tenant("acme", by: world.owner)
            #expect(tenant.nodeCount == 0 && tenant.pools.map(\.allocated) == [0, 0])
            // The next node does not get the address that was just freed.
            let next = try await world.node()
            #expect(next.grant.addresses.isDisjoint(with: node.grant.addresses))
            #expect(await reason {
                try await world.service.setGrant(
                    "acme", node.verifying, try world.grant(node), by: world.owner)
            } == "nodeRevoked")
            try await world.service.removeGroup("acme", "plants", by: world.owner)
            try await world.service.deleteNode("acme", node.verifying, by: world.owner)
            #expect(await reason { try await world.state(node) } == "not_found")
            #expect(await reason { try await world.service.enrol(node.enrolment) }
                == "nodeRevoked")
        }
    }

    @Test(arguments: Backend.available)
    func nodesLeave(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let identity = try await world.identity(node)
            try await world.service.leave(identity)
            try await world.service.leave(identity)
            #expect(try await world.state(node) == .left)
            #expect(await reason { try await world.identity(node) } == "unauthenticated")
            #expect(try await world.service.tenant("acme", by: world.owner).nodeCount == 0)
            #expect(try await world.service.newestNumber("acme") == 2)
            #expect(await reason {
                try await world.service.setGrant(
                    "acme", node.verifying, try world.grant(node), by: world.owner)
            } == "in_use")
            try await world.service.deleteNode("acme", node.verifying, by: world.owner)
        }
    }

    @Test(arguments: Backend.available)
    func nodesDoNotChangeThemselvesWithoutEnd(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node(), other = try await world.node()
            func rotate(_ node: World.Node, _ turn: Int64) async throws -> String? {
                let rotation = KeyRotation(
                    tenant: "acme", serial: node.grant.serial, turn: turn,
                    publicKey: World.publicKey(), validity: try world.validity(-5, World.day))
                let chain = node.chain.appending(
                    try Statement.rotation(rotation).signed(by: node.key.signing)).text
                let identity = try await world.identity(node)
                return await reason {
                    try await world.service.rotate(identity, .init(chain: chain))
                }
            }
            var reasons: [String?] = []
            for turn in 1...25 { reasons.append(try await rotate(node, Int64(turn))) }
            #expect(reasons.first == .some(nil) && reasons.last == "rate_limited")
            #expect(try await rotate(other, 1) == nil)
        }
    }

    @Test(arguments: Backend.available)
    func nodesRotateTheirKeys(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node(), other = try await world.node()
            let identity = try await world.identity(node)
            func rotate(
                turn: Int64, _ key: PublicKey = World.publicKey(), serial: Int64? = nil
            ) async throws -> (chain: String, reason: String?) {
                let rotation = KeyRotation(
                    tenant: "acme", serial: serial ?? node.grant.serial, turn: turn,
                    publicKey: key, validity: try world.validity(-5, World.day))
                let chain = node.chain.appending(
                    try Statement.rotation(rotation).signed(by: node.key.signing)).text
                return (chain, await reason {
                    try await world.service.rotate(identity, .init(chain: chain))
                })
            }
            let key = World.publicKey()
            let turned = try await rotate(turn: 5, key)
            #expect(turned.reason == nil)
            let shown = try await world.service.node("acme", node.verifying, by: world.owner)
            #expect(shown.publicKey == key.base64 && shown.chain == turned.chain)
            #expect(await reason {
                try await world.service.rotate(identity, .init(chain: turned.chain))
            } == nil)
            #expect(try await rotate(turn: 5).reason == "serialReused")
            #expect(try await rotate(turn: 4).reason == "superseded")
            #expect(try await rotate(turn: 6, other.grant.publicKey).reason == "keyInUse")
            #expect(try await rotate(turn: 6, serial: 5).reason == "superseded")
            #expect(try await rotate(turn: 6).reason == nil)
            // What was signed before the rotation would bring the old key back.
            #expect(await reason {
                try await world.service.setGrant(
                    "acme", node.verifying, try world.grant(node), by: world.owner)
            } == "in_use")
            #expect(await reason {
                try await world.service.rotate(identity, .init(chain: other.chain.text))
            } == "keyNotAllowed")
            #expect(try await world.service.newestNumber("acme") == 4)
        }
    }

    @Test(arguments: Backend.available)
    func nodesByHandNeedNoAgent(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let reservation = try await world.service.reserve("acme", .init(), by: world.owner)
            let token = try world.signToken(reservation.addresses, role: .client)
            let node = try world.enrolment(token)
            let grant = try world.grant(node)
            let added = try await world.service.addNodeByHand(
                "acme", .init(reservation: reservation.id, chain: grant.chain, name: "phone"),
                by: world.owner)
            #expect(added.isByHand && added.state == .active && added.lastSeenAt == nil)
            #expect(await reason {
                try await world.service.addNodeByHand(
                    "acme", .init(reservation: reservation.id, chain: grant.chain, name: "phone"),
                    by: world.owner)
            } == "not_found")
            #expect(await reason {
                try await world.service.addNodeByHand(
                    "acme", .init(
                        reservation: reservation.id, chain: grant.chain, name: "no\nname"),
                    by: world.owner)
            } == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func concurrentEditsLoseNothing(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node(role: .gateway)
            func change(_ change: CoordinatorAPI.NodeChange, _ revision: Int64?) async -> String? {
                await reason {
                    try await world.service.changeNode(
                        "acme", node.verifying, change, ifMatch: revision, by: world.owner)
                }
            }
            #expect(await change(.init(name: "a"), nil) == "revision_required")
            let reasons = await withTaskGroup(of: String?.self) { group in
                for index in 0..<10 {
                    group.addTask { await change(.init(name: "n\(index)"), 1) }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reasons.filter { $0 == nil }.count == 1)
            #expect(reasons.compactMap(\.self).allSatisfy { $0 == "revision_mismatch" })
            for endpoint in [
                "gw", "gw:0", "gw:65536", "gw:+1", ":1", "[::1:5", "a b:1", "[1.2.3.4]:1",
            ] {
                #expect(await change(.init(endpoint: endpoint), 2) == "invalid_request")
            }
            #expect(await change(.init(endpoint: "[2001:db8::1]:51820"), 2) == nil)
        }
    }

    @Test(arguments: Backend.available)
    func namesAreOfOneNode(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let long = String(repeating: "x", count: 63)
            func join(_ name: String) async throws -> (World.Node, String) {
                let node = try world.enrolment(try await world.token(), name: name)
                _ = try await world.service.enrol(node.enrolment)
                // The same again is the same node under the same name.
                _ = try await world.service.enrol(node.enrolment)
                let shown = try await world.service.node("acme", node.verifying, by: world.owner)
                return (node, shown.name)
            }
            func rename(_ node: World.Node, _ name: String) async throws -> String? {
                let shown = try await world.service.node("acme", node.verifying, by: world.owner)
                return await reason {
                    try await world.service.changeNode(
                        "acme", node.verifying, .init(name: name), ifMatch: shown.revision,
                        by: world.owner)
                }
            }
            let (first, name) = try await join("plant")
            #expect(name == "plant")
            let (second, secondName) = try await join("plant")
            #expect(secondName == "plant-2")
            #expect(try await join("plant").1 == "plant-3")
            #expect(try await join("plant-2").1 == "plant-2-2")
            #expect(try await join(long).1 == long)
            #expect(try await join(long).1 == String(long.prefix(56)) + "-2")
            #expect(try await rename(second, "plant") == "already_exists")
            #expect(try await rename(second, "plant-2") == nil)
            #expect(try await rename(second, "other") == nil)
            #expect(try await join("plant").1 == "plant-2")
            // Who is gone has no name.
            try await world.service.leave(try await world.identity(first))
            #expect(try await rename(second, "plant") == nil)
            let beta = try world.enrolment(try await world.token(in: "beta"), name: "plant")
            _ = try await world.service.enrol(beta.enrolment)
            let there = try await world.service.node("beta", beta.verifying, by: world.owner)
            #expect(there.name == "plant")
        }
    }

    @Test(arguments: Backend.available)
    func aNodeIsToldItsName(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let identity = try await world.identity(node)
            let shown = try await world.service.node("acme", node.verifying, by: world.owner)
            #expect(try await world.service.networkState(identity).state.name == shown.name)
            let before = try await world.service.newestNumber("acme")
            _ = try await world.service.changeNode(
                "acme", node.verifying, .init(name: "plant-seven"), ifMatch: shown.revision,
                by: world.owner)
            #expect(try await world.service.networkState(identity).state.name == "plant-seven")
            let changes = try await world.service.changes("acme", after: before, limit: 10)
            let own = try changes.filter { $0.audience == .node(node.verifying) }.map {
                try APIJSON.decode(CoordinatorAPI.NetworkChange.self, from: $0.payload)
            }
            #expect(own == [.init(name: "plant-seven")])
            #expect(changes.contains { $0.audience == .gateways }, "its peers hear of it, too")
        }
    }

    @Test(arguments: Backend.available)
    func routesLeadOutOfThePools(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func token(_ route: String, _ role: Role = .branch) async -> String? {
                await reason {
                    try await world.token(role: role) {
                        $0.routes = Set([route].compactMap { IPPrefix($0) })
                    }
                }
            }
            #expect(await token("10.64.0.0/16") == "pool_overlap")
            #expect(await token("10.64.7.0/24") == "pool_overlap")
            #expect(await token("10.0.0.0/8", .gateway) == "pool_overlap")
            #expect(await token("fd00:64::/48") == "pool_overlap")
            #expect(await token("0.0.0.0/0") == "pool_overlap")
            #expect(await token("0.0.0.0/0", .gateway) == nil)
            #expect(await token("10.65.0.0/16") == nil)
            #expect(await token("10.63.255.0/24") == nil)
            let node = try await world.node()
            let grant = try world.grant(node) {
                $0.routes = Set(["10.64.9.0/24"].compactMap { IPPrefix($0) })
            }
            #expect(
                await reason {
                    try await world.service.setGrant("acme", node.verifying, grant, by: world.owner)
                } == "pool_overlap")
        }
    }

    @Test(arguments: Backend.available)
    func gatewaysAloneHaveEndpoints(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func change(_ role: Role, _ endpoint: String) async throws -> String? {
                let node = try await world.node(role: role)
                return await reason {
                    try await world.service.changeNode(
                        "acme", node.verifying, .init(endpoint: endpoint), ifMatch: 1,
                        by: world.owner)
                }
            }
            let gateway = try await change(.gateway, "gw.example:51820")
            let branch = try await change(.branch, "gw.example:51820")
            let client = try await change(.client, "gw.example:51820")
            let nothing = try await change(.branch, "")
            #expect(gateway == nil && nothing == nil)
            #expect(branch == "invalid_request" && client == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func anAdminsEndpointStays(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node(role: .gateway)
            let identity = try await world.identity(node)
            func report(_ endpoint: String) async throws -> String? {
                try await world.service.report(
                    identity,
                    .init(
                        appliedNumber: 1, tenantRevocations: 0, organisationRevocations: 0,
                        refusals: ["expired": 2, "made-up": 1], endpoint: endpoint,
                        agentVersion: "2"))
                return try await world.service.node(
                    "acme", node.verifying, by: world.owner).endpoint
            }
            #expect(try await report("192.0.2.1:51820") == "192.0.2.1:51820")
            #expect(try await world.service.newestNumber("acme") == 2)
            #expect(try await report("192.0.2.1:51820") == "192.0.2.1:51820")
            #expect(try await world.service.newestNumber("acme") == 2)
            let shown = try await world.service.node("acme", node.verifying, by: world.owner)
            _ = try await world.service.changeNode(
                "acme", node.verifying, .init(endpoint: "gw.example:51820"),
                ifMatch: shown.revision, by: world.owner)
            #expect(try await report("192.0.2.2:51820") == "gw.example:51820")
            let statistics = try await world.service.statistics()
            #expect(statistics.refusals == ["expired": 6, "other": 3])
            #expect(await reason { try await report("nowhere") } == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func gatewaysThatLagAreCounted(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let node = try await world.node()
            let identity = try await world.identity(node)
            let gatewayIdentity = try await world.identity(gateway)
            func behind() async throws -> Int {
                try await world.service.ownState(identity).gatewaysBehind
            }
            func report(_ number: Int64) async throws {
                try await world.service.report(
                    gatewayIdentity,
                    .init(
                        appliedNumber: number, tenantRevocations: 0, organisationRevocations: 0,
                        refusals: [:], endpoint: nil, agentVersion: nil))
            }
            #expect(try await behind() == 1)
            try await report(1)
            #expect(try await behind() == 1)
            try await report(2)
            #expect(try await behind() == 0)
            // What concerns branches alone holds nobody up: the new gateway has caught up, too.
            _ = try await world.node(role: .gateway)
            #expect(try await behind() == 1)
            world.service.seen(gatewayIdentity, connected: true)
            let statistics = try await world.service.statistics()
            #expect(statistics.connectedNodes == 1 && statistics.nodes[.active] == 3)
            try await world.service.maintain(isEnd: true)
            // Another replica, or this one after a restart, knows it from the database.
            let second = try await World.service(world.storage, world.clock)
            #expect(try await second.ownState(identity).gatewaysBehind
                == (try await behind()))
            world.clock.advance(86_401)
            #expect(try await second.ownState(identity).gatewaysBehind == 0)
        }
    }
}
