import PacketFormats
import PacketMemory
import Testing

@testable import WireGuardProtocol

/// The timers at their boundaries, in virtual time without a network.
struct TimerTests {
    private func advance(_ device: WireGuardDevice, to now: UInt64) -> [String] {
        device.advance(now: now, wallClock: .test(now))
        return device.actions.drain().names
    }

    /// Lets the device do everything up to `end`, and says what it did when.
    private func run(_ device: WireGuardDevice, until end: UInt64) -> [(at: UInt64, what: String)] {
        var happened: [(at: UInt64, what: String)] = []
        while let deadline = device.nextDeadline, deadline <= end {
            happened += advance(device, to: deadline).map { (deadline, $0) }
        }
        return happened
    }

    @Test func initiationIsRetriedEveryFiveSecondsWithJitterThenGivenUp() throws {
        let pair = try Pair()
        #expect(try pair.left.initiate(pair.rightID, now: 0).orThrow().count == 148)
        let happened = run(pair.left, until: 100 * second)
        let initiations = [0] + happened.filter { $0.what == "initiation" }.map(\.at)
        var gaps: Set<UInt64> = []
        for (earlier, later) in zip(initiations, initiations.dropFirst()) {
            let gap = later - earlier
            #expect(gap >= 5 * second)
            #expect(gap <= 5 * second + ProtocolConstants.rekeyJitterMax)
            gaps.insert(gap)
        }
        #expect(gaps.count > 5)
        let last = try happened.last.orThrow()
        #expect(last.what == "discardStaged")
        #expect(last.at >= 90 * second)
        #expect(last.at < 96 * second)
        #expect(try initiations.last.orThrow() < 90 * second)
        #expect(pair.left.indices.count == 0)
        // Until somebody asks again, nothing follows but the wiping of keys.
        #expect(run(pair.left, until: 10_000 * second).map(\.what) == ["stopSending"])
        #expect(pair.left.initiate(pair.rightID, now: 10_000 * second) != nil)
    }

    @Test func requestIsTakenOnceUntilTheHandshakeEnds() throws {
        let pair = try Pair()
        let activity = try pair.left.activity(pair.rightID).orThrow()
        #expect(pair.left.initiate(pair.rightID, now: second) != nil)
        #expect(!activity.requestHandshake())
        _ = run(pair.left, until: 100 * second)
        #expect(activity.requestHandshake())
    }

    @Test func lateRequestFindsTheNewSession() throws {
        let pair = try Pair()
        let (first, _) = try pair.handshake(now: second)
        #expect(first.activity.requestHandshake())
        pair.left.noteActivity(pair.rightID, now: 122 * second)
        pair.left.advance(now: 122 * second, wallClock: .test(122 * second))
        let initiation = try pair.left.actions.drain().handshake(.initiation).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: 122 * second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        _ = pair.left.receive(response, from: pair.rightEndpoint, now: 122 * second)
        _ = pair.left.actions.drain()
        // A busy worker sends once more with the old session before it hears of the new one.
        #expect(first.needsRekeyAfterSending(now: 122 * second))
        #expect(first.activity.requestHandshake())
        pair.left.noteActivity(pair.rightID, now: 122 * second)
        #expect(run(pair.left, until: 240 * second).isEmpty)
        // The request is settled: the next one counts.
        #expect(first.activity.requestHandshake())
        pair.left.noteActivity(pair.rightID, now: 242 * second)
        #expect(advance(pair.left, to: 242 * second) == ["initiation"])
    }

    @Test func requestNearTheEndOfAResponderSessionIsTaken() throws {
        let pair = try Pair()
        let (_, right) = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        for (age, expected) in [(165 * second - 1, []), (165 * second, ["initiation"])] {
            #expect(right.activity.requestHandshake())
            pair.right.noteActivity(pair.leftID, now: second + age)
            #expect(advance(pair.right, to: second + age) == expected)
        }
    }

    @Test func twoHandshakesBeginFiveSecondsApart() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: 10 * second)
        _ = pair.left.actions.drain()
        #expect(pair.left.initiate(pair.rightID, now: 12 * second) == nil)
        #expect(pair.left.nextDeadline == 15 * second)
        #expect(advance(pair.left, to: 15 * second - 1).isEmpty)
        #expect(advance(pair.left, to: 15 * second) == ["initiation"])
    }

    /// The right end answers at one second, and has packets that wait for a session.
    private func answerWithPacketsWaiting(_ pair: Pair) throws -> Session {
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let session = try pair.right.actions.drain().installed.orThrow()
        #expect(session.activity.requestHandshake())
        pair.right.noteActivity(pair.leftID, now: second)
        return session
    }

    @Test func answeredPeerHasTimeToConfirm() throws {
        let pair = try Pair()
        let session = try answerWithPacketsWaiting(pair)
        #expect(advance(pair.right, to: second).isEmpty)
        #expect(session.confirm())
        pair.right.sessionConfirmed(session, now: second + 100 * millisecond)
        #expect(pair.right.actions.drain().names == ["promote"])
        #expect(run(pair.right, until: 100 * second).isEmpty)
    }

    @Test func answeredPeerThatDoesNotConfirmGetsAnInitiation() throws {
        let pair = try Pair()
        _ = try answerWithPacketsWaiting(pair)
        #expect(advance(pair.right, to: 6 * second - 1).isEmpty)
        #expect(advance(pair.right, to: 6 * second) == ["initiation"])
        // Its retry is not put off by an answer to the peer.
        pair.left.advance(now: 8 * second, wallClock: .test(8 * second))
        let again = try pair.left.actions.drain().handshake(.initiation).orThrow()
        _ = pair.right.receive(again, from: pair.leftEndpoint, now: 8 * second)
        _ = pair.right.actions.drain()
        let retryAt = try pair.right.nextDeadline.orThrow()
        #expect(retryAt >= 11 * second)
        #expect(retryAt <= 11 * second + ProtocolConstants.rekeyJitterMax)
        #expect(advance(pair.right, to: retryAt) == ["initiation"])
    }

    @Test func unansweredDataMakesANewHandshake() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        let activity = session.activity
        #expect(activity.packetSent(isData: true, byteCount: 64, now: 2 * second))
        #expect(!activity.packetSent(isData: true, byteCount: 64, now: 3 * second))
        pair.left.noteActivity(pair.rightID, now: 3 * second)
        let due = try pair.left.nextDeadline.orThrow()
        #expect(due >= 17 * second)
        #expect(due <= 17 * second + ProtocolConstants.rekeyJitterMax)
        #expect(advance(pair.left, to: 17 * second - 1).isEmpty)
        #expect(advance(pair.left, to: 18 * second) == ["initiation"])
    }

    @Test func anyAuthenticPacketAnswersData() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        #expect(session.activity.packetSent(isData: true, byteCount: 64, now: 2 * second))
        pair.left.noteActivity(pair.rightID, now: 2 * second)
        #expect(!session.activity.packetReceived(isData: false, byteCount: 32, now: 3 * second))
        #expect(run(pair.left, until: 500 * second).isEmpty)
        // The timer is disarmed, so that the next data has it armed again.
        #expect(session.activity.packetSent(isData: true, byteCount: 64, now: 500 * second))
    }

    @Test func receivedDataGetsAKeepaliveAfterTenSeconds() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        #expect(session.activity.packetReceived(isData: true, byteCount: 64, now: 2 * second))
        #expect(!session.activity.packetReceived(isData: true, byteCount: 64, now: 3 * second))
        pair.left.noteActivity(pair.rightID, now: 3 * second)
        #expect(pair.left.nextDeadline == 12 * second)
        #expect(advance(pair.left, to: 12 * second - 1).isEmpty)
        #expect(advance(pair.left, to: 12 * second) == ["sendKeepalive"])
        #expect(run(pair.left, until: 500 * second).isEmpty)
    }

    @Test func receivedKeepaliveGetsNone() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        #expect(!session.activity.packetReceived(isData: false, byteCount: 32, now: 2 * second))
    }

    @Test func sentPacketReplacesTheKeepalive() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        #expect(session.activity.packetReceived(isData: true, byteCount: 64, now: 2 * second))
        pair.left.noteActivity(pair.rightID, now: 2 * second)
        #expect(!session.activity.packetSent(isData: false, byteCount: 32, now: 5 * second))
        #expect(run(pair.left, until: 500 * second).isEmpty)
    }

    @Test func persistentKeepaliveBreaksSilenceOnly() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 25, now: 2 * second)
        // The handshake was traffic.
        #expect(advance(pair.left, to: 2 * second).isEmpty)
        #expect(pair.left.nextDeadline == 26 * second)
        _ = session.activity.packetReceived(isData: false, byteCount: 32, now: 20 * second)
        #expect(advance(pair.left, to: 26 * second).isEmpty)
        #expect(advance(pair.left, to: 45 * second) == ["sendKeepalive"])
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 0, now: 46 * second)
        #expect(run(pair.left, until: 500 * second).isEmpty)
    }

    @Test func persistentKeepaliveStartsAHandshakeAtOnce() throws {
        let pair = try Pair()
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 25, now: 2 * second)
        #expect(advance(pair.left, to: 2 * second) == ["initiation"])
    }

    @Test func persistentKeepaliveWaitsForAnEndpoint() throws {
        let pair = try Pair()
        pair.left.setEndpoint(pair.rightID, nil, now: 0)
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 25, now: 2 * second)
        #expect(!run(pair.left, until: 60 * second).contains { $0.what == "initiation" })
        pair.left.setEndpoint(pair.rightID, .test(4), now: 61 * second)
        #expect(advance(pair.left, to: 61 * second) == ["endpointChanged", "initiation"])
    }

    @Test func persistentKeepaliveStartsAHandshakeWhenTheLinkComesUp() throws {
        let pair = try Pair()
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 25, now: second)
        _ = try pair.handshake(now: second)
        pair.left.expireAllKeys()
        _ = pair.left.actions.drain()
        #expect(pair.left.nextDeadline == nil)
        // Traffic of the time before counts for nothing: there is no session any more.
        pair.left.startPersistentKeepalives(now: 2 * second)
        #expect(advance(pair.left, to: 2 * second) == ["initiation"])
    }

    @Test func timersOfDataAreArmedAgainAfterTheLinkWasDown() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        let activity = session.activity
        #expect(activity.packetSent(isData: true, byteCount: 64, now: 2 * second))
        #expect(activity.packetReceived(isData: true, byteCount: 64, now: 2 * second))
        #expect(!activity.packetSent(isData: true, byteCount: 64, now: 2 * second))
        pair.left.noteActivity(pair.rightID, now: 2 * second)
        pair.left.expireAllKeys()
        _ = pair.left.actions.drain()
        // Nothing is owed of what was sent and received before.
        pair.left.noteActivity(pair.rightID, now: 3 * second)
        #expect(pair.left.nextDeadline == nil)
        _ = try pair.handshake(now: 10 * second)
        _ = pair.left.actions.drain()
        #expect(activity.packetSent(isData: true, byteCount: 64, now: 20 * second))
        #expect(activity.packetReceived(isData: true, byteCount: 64, now: 21 * second))
        pair.left.noteActivity(pair.rightID, now: 21 * second)
        #expect(pair.left.nextDeadline == 31 * second)
        #expect(advance(pair.left, to: 31 * second) == ["sendKeepalive"])
        #expect(run(pair.left, until: 39 * second).isEmpty)
        #expect(activity.packetSent(isData: true, byteCount: 64, now: 40 * second))
        pair.left.noteActivity(pair.rightID, now: 40 * second)
        #expect(advance(pair.left, to: 56 * second) == ["initiation"])
    }

    @Test func keysAreWipedNineMinutesAfterTheLastSession() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        #expect(run(pair.left, until: 540 * second).isEmpty)
        #expect(!session.isRetired)
        #expect(advance(pair.left, to: 541 * second) == ["stopSending", "retire"])
        #expect(session.isRetired)
        #expect(pair.left.indices.count == 0)
        #expect(pair.left.nextDeadline == nil)
    }

    @Test func wipingKeysLeavesTheHandshakeThatIsUnderWay() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        let first = try pair.left.initiate(pair.rightID, now: 540 * second).orThrow()
        #expect(advance(pair.left, to: 541 * second) == ["stopSending", "retire"])
        #expect(session.isRetired)
        // The response to the initiation is still good, and so is the retry.
        #expect(pair.left.peer(pair.rightID)?.pending != nil)
        #expect(advance(pair.left, to: 546 * second) == ["initiation"])
        #expect(pair.left.activity(pair.rightID)?.requestHandshake() == false)
        _ = pair.right.receive(first, from: pair.leftEndpoint, now: 540 * second)
        #expect(run(pair.left, until: 700 * second).last?.what == "discardStaged")
    }

    @Test func workersAreToldToStopWithoutACurrentSession() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let session = try pair.right.actions.drain().installed.orThrow()
        // A worker confirms it and sends with it before the device hears of that.
        #expect(session.confirm())
        pair.right.expireAllKeys()
        #expect(pair.right.actions.drain().names == ["stopSending", "retire", "discardStaged"])
        pair.right.sessionConfirmed(session, now: second)
        #expect(pair.right.actions.drain().names == ["stopSending"])
    }

    @Test func sessionsDieAfterThreeMinutesInBothDirections() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: second)
        for session in [left, right] {
            #expect(session.isUsableForSending(now: 181 * second - 1))
            #expect(session.isUsableForReceiving(now: 181 * second - 1))
            #expect(!session.isUsableForSending(now: 181 * second))
            #expect(!session.isUsableForReceiving(now: 181 * second))
        }
    }

    @Test func initiatorAsksForNewKeysInTime() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: second)
        #expect(!left.needsRekeyAfterSending(now: 121 * second - 1))
        #expect(left.needsRekeyAfterSending(now: 121 * second))
        #expect(!right.needsRekeyAfterSending(now: 170 * second))
        #expect(!left.needsRekeyAfterReceiving(now: 166 * second - 1))
        #expect(left.needsRekeyAfterReceiving(now: 166 * second))
        #expect(!left.needsRekeyAfterReceiving(now: 167 * second))
        #expect(!right.needsRekeyAfterReceiving(now: 170 * second))
    }

    @Test func countersEndBeforeTheLimit() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: second)
        right.skipCounters(to: ProtocolConstants.rekeyAfterMessages)
        #expect(!right.needsRekeyAfterSending(now: second))
        #expect(right.reserveCounters(1) == ProtocolConstants.rekeyAfterMessages)
        #expect(right.needsRekeyAfterSending(now: second))

        left.skipCounters(to: ProtocolConstants.rejectAfterMessages - 3)
        #expect(left.isUsableForSending(now: second))
        #expect(left.reserveCounters(2) == ProtocolConstants.rejectAfterMessages - 3)
        #expect(left.reserveCounters(2) == nil)
        #expect(left.reserveCounters(1) == nil)
        #expect(!left.isUsableForSending(now: second))
        #expect(left.reserveCounters(0) == nil)
        #expect(left.reserveCounters(-1) == nil)
        #expect(left.reserveCounters(65_537) == nil)
    }

    @Test func refusedRunsOfCountersNeverWrap() throws {
        let (left, _) = try Pair().handshake(now: second)
        for room in [1, 8_193, 65_535] as [UInt64] {
            let start = ProtocolConstants.rejectAfterMessages - room
            left.skipCounters(to: start)
            #expect(left.reserveCounters(65_536) == nil)
            #expect(left.sentCount >= start)
            // What is left over is not used either: the session counts as exhausted.
            #expect(left.reserveCounters(1) == nil)
            #expect(!left.isUsableForSending(now: second))
        }
        left.skipCounters(to: ProtocolConstants.rejectAfterMessages - 65_536)
        #expect(
            left.reserveCounters(65_536) == ProtocolConstants.rejectAfterMessages - 65_536)
        #expect(left.reserveCounters(1) == nil)
    }

    @Test func clocksThatJumpNeverTrap() throws {
        let times: [UInt64] = [0, 1, .max, second, .max - 1, 500 * second, 0, .max / 2, 2, .max]
        let pair = try Pair()
        pair.left.setPersistentKeepalive(pair.rightID, seconds: .max, now: 5)
        let (session, _) = try pair.handshake(now: 1_000 * second)
        for now in times {
            _ = session.activity.packetSent(isData: true, byteCount: 1, now: now)
            _ = session.activity.packetReceived(isData: true, byteCount: 1, now: now)
            _ = session.activity.requestHandshake()
            pair.left.noteActivity(pair.rightID, now: now)
            pair.left.advance(
                now: now, wallClock: WallClock(seconds: .max, nanoseconds: .max))
            pair.left.advance(
                now: now, wallClock: WallClock(seconds: .min, nanoseconds: 0))
            _ = session.isUsableForSending(now: now)
            _ = session.needsRekeyAfterReceiving(now: now)
            _ = pair.left.receive([UInt8](repeating: 1, count: 148), from: .test(1), now: now)
            pair.left.sessionConfirmed(session, now: now)
        }
    }
}
