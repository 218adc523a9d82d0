import ControlModel
import HTTPTypes
import Hummingbird

extension CoordinatorRoutes {
    var nodes: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/tenants/{tenant}/nodes", .admin,
                Operation(
                    "listNodes", .nodes, "Nodes, by key.", query: ["after", "limit"],
                    answer: .ok("NodePage"))
            ) {
                let (after, limit) = try $0.page()
                return try APIAnswer.json(
                    await service.nodes(
                        $0.tenant(), by: $0.principal(), after: after, limit: limit))
            },
            Route(
                .post, "/v1/tenants/{tenant}/nodes", .admin, body: .json,
                Operation(
                    "addNodeByHand", .nodes, "Adds a plain WireGuard client under a grant.",
                    request: "NodeByHand", answer: .created("Node", hasETag: true),
                    problems: [409, 422])
            ) {
                let node = try await service.addNodeByHand(
                    $0.tenant(), $0.decoded(), by: $0.principal())
                return try APIAnswer.json(node, status: .created, etag: node.revision)
            },
            Route(
                .get, "/v1/tenants/{tenant}/nodes/{node}", .admin,
                Operation("getNode", .nodes, "One node.", answer: .ok("Node", hasETag: true))
            ) {
                let node = try await service.node(
                    $0.tenant(), $0.nodeKey(), by: $0.principal())
                return try APIAnswer.json(node, etag: node.revision)
            },
            Route(
                .patch, "/v1/tenants/{tenant}/nodes/{node}", .admin, body: .json,
                Operation(
                    "changeNode", .nodes,
                    "Renames a node, or says where a gateway is reached and how it is preferred.",
                    request: "NodeChange", needsIfMatch: true,
                    answer: .ok("Node", hasETag: true), problems: [409])
            ) {
                let node = try await service.changeNode(
                    $0.tenant(), $0.nodeKey(), $0.decoded(), ifMatch: $0.ifMatch(),
                    by: $0.principal())
                return try APIAnswer.json(node, etag: node.revision)
            },
            Route(
                .delete, "/v1/tenants/{tenant}/nodes/{node}", .admin,
                Operation(
                    "deleteNode", .nodes, "Forgets a node that was revoked or has left.",
                    answer: .nothing(), problems: [409])
            ) {
                try await service.deleteNode($0.tenant(), $0.nodeKey(), by: $0.principal())
                return APIAnswer.nothing()
            },
            Route(
                .put, "/v1/tenants/{tenant}/nodes/{node}/grant", .admin, body: .json,
                Operation(
                    "setGrant", .nodes,
                    "Approves, renews, resumes or regroups a node by a grant of an admin.",
                    request: "SignedChain", answer: .ok("Node", hasETag: true),
                    problems: [409, 422])
            ) {
                let node = try await service.setGrant(
                    $0.tenant(), $0.nodeKey(), $0.decoded(), by: $0.principal())
                return try APIAnswer.json(node, etag: node.revision)
            },
        ]
    }

    var ownNode: [Route] {
        let (service, hub) = (service, hub)
        return [
            Route(
                .post, "/v1/enrolments", .joining, body: .json,
                Operation(
                    "enrol", .joining, "Lets a node in, by its chain alone.",
                    request: "Enrolment", answer: .created("OwnState"),
                    problems: [403, 404, 409, 422])
            ) { try APIAnswer.json(await service.enrol($0.decoded()), status: .created) },
            Route(
                .get, "/v1/self", .node,
                Operation(
                    "getSelf", .node, "The node as the coordinator has it.",
                    answer: .ok("OwnState"))
            ) { try APIAnswer.json(await service.ownState($0.node())) },
            Route(
                .delete, "/v1/self", .node,
                Operation("leave", .node, "The node leaves.", answer: .nothing())
            ) {
                let identity = try $0.node()
                try await service.leave(identity)
                hub.end(identity)
                return APIAnswer.nothing()
            },
            Route(
                .put, "/v1/self/rotation", .node, body: .json,
                Operation(
                    "rotate", .node, "Takes the node's next WireGuard key.",
                    request: "SignedChain", answer: .ok("OwnState"), problems: [409, 422])
            ) { try APIAnswer.json(await service.rotate($0.node(), $0.decoded())) },
            Route(
                .post, "/v1/self/report", .node, body: .json,
                Operation(
                    "report", .node, "Says which change is in force on the node.",
                    request: "Report", answer: .nothing())
            ) {
                try await service.report($0.node(), $0.decoded())
                return APIAnswer.nothing()
            },
            Route(
                .get, "/v1/self/watch", .node, isStream: true,
                Operation(
                    "watch", .node,
                    "Everything that concerns the node, then every change, for as long as it "
                        + "listens.",
                    query: ["since"],
                    answer: .lines("WatchEvent", "One event a line, with heartbeats."),
                    problems: [409]),
                handle: watch),
        ]
    }

    @Sendable private func watch(_ call: APICall) async throws -> Response {
        let identity = try call.node()
        let since = try call.query.integer("since", in: 0...TrustLimits.integerMax)
        guard counts.hasRoomForWatcher else {
            throw CoordinatorAPI.Problem(
                .limitReached, status: 503,
                detail: "this coordinator serves as many streams as it can: try another replica, "
                    + "or again later")
        }
        let channel = call.channel
        let isChunkable = try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.handler(type: ClientConnection.self).isChunkable
        }.get()
        guard isChunkable else {
            throw CoordinatorAPI.Problem.invalidRequest("a stream needs HTTP/1.1")
        }
        // Before the answer begins: a storage that is away is still a problem with a status.
        try await hub.open(identity.tenant)
        let stream = WatchStream(hub: hub, gate: gate, identity: identity, channel: channel)
        return APIAnswer.lines { try await stream.write(since: since, to: &$0) }
    }
}
