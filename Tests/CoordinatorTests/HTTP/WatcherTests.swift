import ControlModel
import Cryptography
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import Coordinator

/// Watchers over channels in memory, on one thread.
@Suite struct WatcherTests {
    @Test func aWatcherGetsWhatConcernsItInOrder() throws {
        let bench = try Bench()
        let gateway = try bench.watch(.gateway)
        let branch = try bench.watch(.branch)
        let pending = try bench.watch(.branch, state: .pending)
        bench.publish([
            .all, .gateways, .others, .node(branch.identity.node),
            .node(SigningKey.generate().verifyingKey),
        ])
        #expect(gateway.numbers() == [1, 2])
        #expect(branch.numbers() == [1, 3, 4])
        #expect(pending.numbers() == [1])
        #expect(gateway.watcher.position == 5)
    }

    @Test func aWatcherResumesFromItsNumber() throws {
        let bench = try Bench()
        bench.publish([.all, .all, .all])
        let watch = try bench.watch(.branch, since: 1)
        #expect(watch.numbers() == [2, 3])
        bench.publish([.all])
        #expect(watch.numbers() == [4])
    }

    @Test func whoseNumberTheRingDoesNotHaveIsBehind() throws {
        let bench = try Bench(newest: 10)
        #expect(try bench.watch(.branch, since: 5).ending == .behind(5))
        #expect(try bench.watch(.branch, since: 11).ending == .behind(11))
        #expect(try bench.watch(.branch, since: 10).ending == nil)
    }

    @Test func aSlowWatcherCatchesUpAndLosesNothing() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch)
        watch.setWritable(false)
        bench.publish([.all, .all])
        bench.publish([.all])
        #expect(watch.numbers() == [])
        watch.setWritable(true)
        #expect(watch.numbers() == [1, 2, 3])
        bench.publish([.all])
        #expect(watch.numbers() == [4])
    }

    @Test func whoIsSlowerThanTheRingIsBehind() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch)
        watch.setWritable(false)
        bench.publish(Array(repeating: .all, count: WatchRing.framesMax + 1))
        watch.setWritable(true)
        #expect(watch.ending == .behind(0))
    }

    @Test func whoDoesNotReadIsClosed() throws {
        var limits = HTTPLimits()
        limits.responseSeconds = 0
        let bench = try Bench(limits: limits)
        let watch = try bench.watch(.branch)
        bench.connections.sweep()
        #expect(watch.channel.isActive)
        watch.setWritable(false)
        bench.connections.sweep()
        #expect(!watch.channel.isActive)
        #expect(watch.ending == .closed)
        #expect(bench.counts.watchers == 0)
    }

    @Test func aRevokedNodeHearsOfItAndIsDone() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch)
        let other = try bench.watch(.branch)
        let list = RevocationList(
            realm: .organisation, number: 1, issuedAt: 10,
            revocations: [Revocation(.node(watch.identity.node), until: 100)])
        let text = try Statement.revocations(list).signed(by: SigningKey.generate())
        bench.publish(
            .all, try APIJSON.encode(CoordinatorAPI.NetworkChange(revocations: text)))
        #expect(watch.numbers() == [1])
        #expect(watch.ending == .revoked)
        #expect(other.ending == nil)
    }

    @Test func aNodeThatIsApprovedGetsEverythingAnew() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch, state: .pending)
        bench.publish([.node(watch.identity.node)])
        #expect(watch.numbers() == [1])
        #expect(watch.ending == .behind(nil))
    }

    @Test func theNewestStreamsOfANodeStay() throws {
        let bench = try Bench()
        let key = SigningKey.generate().verifyingKey
        let watches = try (0..<3).map { _ in try bench.watch(.branch, key: key) }
        bench.loop.run()
        #expect(watches.map(\.ending) == [.replaced, nil, nil])
    }

    @Test func aGatewayHasStreamsOfItsOwnInEachTenant() throws {
        let bench = try Bench()
        let key = SigningKey.generate().verifyingKey
        let tenants: [Name] = [FakeSource.tenant, "beta", "gamma"]
        for tenant in tenants { bench.hub.begin(tenant, newest: 0) }
        let watches = try tenants.map { try bench.watch(.gateway, key: key, in: $0) }
        bench.loop.run()
        #expect(watches.map(\.ending) == [nil, nil, nil])
        bench.hub.end(watches[1].identity)
        bench.loop.run()
        #expect(watches.map(\.ending) == [nil, .revoked, nil])
        watches[2].channel.close(promise: nil)
        bench.loop.run()
        #expect(bench.source.seen == [true, true, true, false])
    }

    @Test func goingAwayEndsEveryStreamAndBeginsNone() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch)
        bench.hub.shutDown()
        bench.loop.run()
        #expect(watch.ending == .shutdown)
        #expect(throws: Bench.Refused.self) { try bench.watch(.branch) }
    }

    @Test func heartbeatsComeInTurnAndOnlyToThoseWhoAreUpToDate() throws {
        let bench = try Bench(newest: 3)
        let watches = try (0..<30).map { _ in try bench.watch(.branch, since: 3) }
        watches[0].setWritable(false)
        bench.watchLoop.heartbeat()
        #expect(watches.filter { $0.kinds() == ["heartbeat"] }.count <= 2)
        for _ in 1..<WatchHub.heartbeatSlots { bench.watchLoop.heartbeat() }
        watches[0].setWritable(true)
        bench.publish([.all])
        #expect(watches[0].numbers() == [4])
    }

    @Test func aClosedConnectionLeavesNothingBehind() throws {
        let bench = try Bench()
        let watch = try bench.watch(.branch)
        #expect(bench.counts.watchers == 1)
        watch.channel.close(promise: nil)
        bench.loop.run()
        #expect(watch.ending == .closed)
        #expect(bench.counts.watchers == 0)
        #expect(bench.source.seen == [true, false])
    }
}

/// One event loop in memory, with a hub whose changes are published by hand.
private final class Bench {
    struct Refused: Error {}

    let loop = EmbeddedEventLoop()
    let source = FakeSource()
    let hub: WatchHub
    let counts: ConnectionCounts
    let watchLoop: WatchLoop
    let connections: LoopConnections
    private let tenant = FakeSource.tenant
    private var newest: Int64

    init(newest: Int64 = 0, limits: HTTPLimits = HTTPLimits()) throws {
        self.newest = newest
        let counters = HTTPCounters()
        hub = WatchHub(
            source: source, limits: limits, counters: counters,
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        counts = ConnectionCounts(limits: limits)
        watchLoop = WatchLoop(hub: hub)
        hub.add(NIOLoopBound(watchLoop, eventLoop: loop))
        connections = LoopConnections(
            limits: limits, counts: counts, counters: counters, watchers: watchLoop)
        hub.begin(tenant, newest: newest)
    }

    func publish(_ audiences: [StoredChange.Audience]) {
        let changes = audiences.map { audience in
            newest += 1
            return StoredChange(number: newest, audience: audience, payload: [UInt8]("{}".utf8))
        }
        hub.publish(changes, to: tenant)
        loop.run()
    }

    func publish(_ audience: StoredChange.Audience, _ payload: [UInt8]) {
        newest += 1
        hub.publish(
            [StoredChange(number: newest, audience: audience, payload: payload)], to: tenant)
        loop.run()
    }

    func watch(
        _ role: Role, state: CoordinatorAPI.NodeState = .active, since: Int64? = nil,
        key: VerifyingKey = SigningKey.generate().verifyingKey,
        in tenant: Name = FakeSource.tenant
    ) throws -> Watch {
        let identity = NodeIdentity(tenant: tenant, node: key, role: role, state: state)
        let address = ClientAddress("192.0.2.1")
        guard counts.open(address) else { throw Refused() }
        let connection = ClientConnection(address: address, loop: connections)
        let channel = EmbeddedChannel(
            handlers: [HTTPResponseEncoder(), connection], loop: loop)
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
        let bound = NIOLoopBound(watchLoop, eventLoop: loop)
        guard let id = hub.enter(identity, on: bound) else { throw Refused() }
        let watcher = Watcher(
            id: id, identity: identity, connection: connection, loop: watchLoop)
        guard connection.beginWatch(watcher) else { throw Refused() }
        watchLoop.add(watcher)
        let watch = Watch(channel: channel, watcher: watcher, identity: identity)
        let ended = loop.makePromise(of: Watcher.Ending.self)
        let box = watch.box
        ended.futureResult.assumeIsolated().whenSuccess { box.ending = $0 }
        watcher.follow(from: since ?? newest, isActive: state == .active, ending: ended)
        loop.run()
        return watch
    }
}

private final class Box {
    var ending: Watcher.Ending?
}

/// One stream: what came out of its channel.
private struct Watch {
    let channel: EmbeddedChannel
    let watcher: Watcher
    let identity: NodeIdentity
    let box = Box()

    var ending: Watcher.Ending? { box.ending }

    func setWritable(_ isWritable: Bool) {
        channel.isWritable = isWritable
        channel.pipeline.fireChannelWritabilityChanged()
        channel.embeddedEventLoop.run()
    }

    func numbers() -> [Int64] { events().map(\.number) }

    func kinds() -> [String] { events().map(\.kind.rawValue) }

    private func events() -> [CoordinatorAPI.WatchEvent] {
        var events: [CoordinatorAPI.WatchEvent] = []
        while let buffer = try? channel.readOutbound(as: ByteBuffer.self) {
            let line = String(buffer: buffer).split(separator: "\r\n").last ?? ""
            if let event = try? APIJSON.decode(
                CoordinatorAPI.WatchEvent.self, from: line.dropLast().utf8)
            {
                events.append(event)
            }
        }
        return events
    }
}
