import ControlModel
import Hummingbird
import NIOCore
import Telemetry

/// The body of one answer to `GET /v1/self/watch`.
///
/// 1. Without a number, or once the ring does not have what follows it: write what is missing from
///    storage, or everything anew, at the client's pace.
/// 2. Follow the ring: the event loop writes, this task sleeps.
/// 3. When that ends for being behind, go to 1; otherwise end the body.
struct WatchStream: Sendable {
    let hub: WatchHub
    let gate: WatchGate
    let identity: NodeIdentity
    let channel: any Channel

    /// A part of a large state, so that a slow client shows progress.
    private static var sliceBytes: Int { 64 << 10 }
    /// A state that is held in memory until it is written keeps its place at the gate.
    private static var smallStateBytes: Int { 256 << 10 }

    private struct Followed: Sendable {
        var ending: Watcher.Ending
        var position: Int64
    }

    /// How far the client is.
    private struct Progress {
        /// Number of the last change that it has; `nil` for nothing.
        var number: Int64?
        var isActive: Bool
        var isRevoked = false
    }

    func write(since: Int64?, to writer: inout any ResponseBodyWriter) async throws {
        guard let watcher = try await begin() else { return try await sayGoodbye(since, writer) }
        var progress = Progress(number: since, isActive: identity.state == .active)
        do {
            var isBehind = since == nil
            while true {
                if isBehind { try await catchUp(&progress, &writer) }
                guard !progress.isRevoked, let number = progress.number else { break }
                let followed = try await follow(watcher, number, isActive: progress.isActive)
                progress.number = followed.position
                switch followed.ending {
                case .behind(let number):
                    progress.number = number
                    isBehind = true
                case .closed: return
                case .revoked: progress.isRevoked = true
                case .shutdown, .replaced:
                    try await end(watcher)
                    return try await sayGoodbye(followed.position, writer)
                }
            }
            try await end(watcher)
            try await writer.finish(nil)
        } catch {
            try? await end(watcher)
            throw error
        }
    }

    // MARK: On the event loop

    /// - Returns: `nil` where no further stream may begin.
    private func begin() async throws -> NIOLoopBound<Watcher>? {
        let channel = channel
        let (hub, identity) = (hub, identity)
        return try await channel.eventLoop.submit {
            let connection = try channel.pipeline.syncOperations.handler(
                type: ClientConnection.self)
            let loop = connection.loop.watchers
            let bound = NIOLoopBound(loop, eventLoop: channel.eventLoop)
            guard let id = hub.enter(identity, on: bound) else { return nil }
            let watcher = Watcher(id: id, identity: identity, connection: connection, loop: loop)
            guard connection.beginWatch(watcher) else {
                hub.left(identity, id)
                return nil
            }
            loop.add(watcher)
            return NIOLoopBound(watcher, eventLoop: channel.eventLoop)
        }.get()
    }

    private func follow(
        _ watcher: NIOLoopBound<Watcher>, _ number: Int64, isActive: Bool
    ) async throws -> Followed {
        let ended = channel.eventLoop.makePromise(of: Watcher.Ending.self)
        channel.eventLoop.execute {
            watcher.value.follow(from: number, isActive: isActive, ending: ended)
        }
        return try await ended.futureResult.map {
            Followed(ending: $0, position: watcher.value.position)
        }.get()
    }

    private func end(_ watcher: NIOLoopBound<Watcher>) async throws {
        try await channel.eventLoop.submit { watcher.value.leave() }.get()
    }

    private func sayGoodbye(
        _ number: Int64?, _ writer: consuming any ResponseBodyWriter
    ) async throws {
        let event = CoordinatorAPI.WatchEvent(kind: .bye, number: number ?? 0)
        try await writer.write(ByteBuffer(bytes: try APIJSON.encode(event) + Self.newline))
        try await writer.finish(nil)
    }

    // MARK: From storage

    private func catchUp(
        _ progress: inout Progress, _ writer: inout any ResponseBodyWriter
    ) async throws {
        try await hub.open(identity.tenant)
        if let number = progress.number, try await isKept(number) {
            try await writeChanges(&progress, after: number, &writer)
        } else {
            try await writeState(&progress, &writer)
        }
    }

    private func isKept(_ number: Int64) async throws -> Bool {
        let oldest = try await hub.source.oldestNumber(identity.tenant)
        let newest = try await hub.source.newestNumber(identity.tenant)
        return number >= oldest - 1 && number <= newest
    }

    private func writeChanges(
        _ progress: inout Progress, after number: Int64, _ writer: inout any ResponseBodyWriter
    ) async throws {
        var position = number
        while true {
            let changes = try await hub.source.changes(
                identity.tenant, after: position, limit: WatchHub.changesPerRead)
            for change in changes {
                position = change.number
                progress.number = position
                guard concerns(change, progress) else { continue }
                try await write(WatchFrame.line(change), &writer)
                hub.counters.add(.watchChangesSent)
                if WatchFrame.revoked(by: change.payload).contains(identity.node) {
                    progress.isRevoked = true
                    return
                }
                if !progress.isActive, change.audience == .node(identity.node) {
                    return try await writeState(&progress, &writer)
                }
            }
            if changes.count < WatchHub.changesPerRead { return }
        }
    }

    private func concerns(_ change: StoredChange, _ progress: Progress) -> Bool {
        switch change.audience {
        case .all, .node: change.concerns(identity.node, identity.role)
        case .gateways, .others:
            progress.isActive && change.concerns(identity.node, identity.role)
        }
    }

    private func writeState(
        _ progress: inout Progress, _ writer: inout any ResponseBodyWriter
    ) async throws {
        try await gate.enter()
        var isAtGate = true
        defer { if isAtGate { gate.leave() } }
        let own = try await hub.source.ownState(identity).state
        progress.isActive = own == .active
        let (state, number) = try await hub.source.networkState(identity)
        let event = CoordinatorAPI.WatchEvent(kind: .state, number: number, state: state)
        let line = try APIJSON.encode(event) + Self.newline
        if line.count <= Self.smallStateBytes {
            gate.leave()
            isAtGate = false
        }
        try await write(line, &writer)
        hub.counters.add(.watchStatesSent)
        progress.number = number
        progress.isRevoked = own == .revoked || own == .left
    }

    private func write(
        _ line: [UInt8], _ writer: inout any ResponseBodyWriter
    ) async throws {
        var rest = line[...]
        while !rest.isEmpty {
            try await writer.write(ByteBuffer(bytes: rest.prefix(Self.sliceBytes)))
            rest = rest.dropFirst(Self.sliceBytes)
        }
    }

    private static var newline: [UInt8] { [UInt8(ascii: "\n")] }
}
