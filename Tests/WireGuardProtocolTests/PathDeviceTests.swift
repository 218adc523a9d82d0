import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// When a device measures the paths to its peers, and what it tells the data path.
@Suite struct PathDeviceTests {
    private static let profiles = TunnelProfile.hybrids

    private func answer(_ probe: PathProbe, at now: UInt64, size: UInt16? = nil) -> PathAnswer {
        PathAnswer(
            number: probe.number, sentAt: now / 1_000, receivedAt: 1,
            datagramByteCount: size ?? UInt16(probe.datagramByteCount))
    }

    private func advance(_ device: WireGuardDevice, _ now: UInt64) -> [Action] {
        device.advance(now: now, wallClock: .test(now))
        return device.actions.drain()
    }

    private func probes(_ actions: [Action]) -> [PathProbe] {
        actions.compactMap { if case .sendProbe(_, let probe) = $0 { probe } else { nil } }
    }

    /// Lets time pass; sizes up to `sizeMax` are answered, 10 ms later.
    private func run(
        _ device: WireGuardDevice, from start: UInt64, to end: UInt64, sizeMax: Int
    ) -> [Action] {
        var actions: [Action] = []
        var now = start
        while now < end {
            let new = advance(device, now)
            actions += new
            let sentAt = now
            now += 10 * millisecond
            for probe in probes(new) where probe.datagramByteCount <= sizeMax {
                _ = device.pathAnswered(
                    0, answer(probe, at: sentAt), arrivedAt: now / 1_000, now: now)
            }
            actions += device.actions.drain()
        }
        return actions
    }

    @Test(arguments: profiles)
    func sessionBeginsMeasuring(profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        #expect(advance(pair.left, second).names == [])
        #expect(pair.left.pathEstimate(pair.rightID) == nil)
        _ = try pair.handshake(now: 2 * second)
        #expect(
            advance(pair.left, 2 * second).names
                == ["sendProbe", "sendProbe", "limitPackets(1420)"])
        #expect(pair.left.pathMTU(pair.rightID) == 1_480)
        #expect(pair.left.pathEstimate(pair.rightID)?.isDatagramSizeConfirmed == false)
    }

    /// The one that answered the handshake may not send before it is confirmed.
    @Test func unconfirmedSessionIsNotMeasured() throws {
        let pair = try Pair(.branchlineAES)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        _ = pair.right.actions.drain()
        #expect(probes(advance(pair.right, second)).isEmpty)
    }

    @Test func stockPeersAreNeverProbed() throws {
        let pair = try Pair(.wireguard)
        _ = try pair.handshake(now: second)
        pair.left.setPacketMax(1_300)
        pair.left.setPathInterval(100 * millisecond)
        let activity = try pair.left.activity(pair.rightID).orThrow()
        for time: UInt64 in 1...60 {
            let now = time * second
            if activity.packetSent(isData: true, byteCount: 9_000, now: now) {
                pair.left.noteActivity(pair.rightID, now: now)
            }
            let names = advance(pair.left, now).names
            #expect(!names.contains("sendProbe") && !names.contains { $0.hasPrefix("limit") })
            let answer = PathAnswer(number: UInt32(time), sentAt: 0, receivedAt: 0)
            #expect(
                pair.left.pathAnswered(pair.rightID, answer, arrivedAt: 0, now: now) == nil)
        }
        #expect(pair.left.pathEstimate(pair.rightID) == nil)
        #expect(pair.left.pathMTU(pair.rightID) == nil)
    }

    @Test func limitFollowsThePath() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        let actions = run(pair.left, from: second, to: 10 * second, sizeMax: 1_400)
        let limits = actions.names.filter { $0.hasPrefix("limit") }
        #expect(limits.first == "limitPackets(1420)")
        #expect(limits.dropFirst().first == "limitPackets(1220)", "the floor, while it looks")
        let mtu = try pair.left.pathMTU(pair.rightID).orThrow()
        #expect((1_421...1_428).contains(mtu))
        #expect(limits.last == "limitPackets(\(mtu - 60))")
    }

    @Test func otherEndpointIsAnotherPath() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = run(pair.left, from: second, to: 40 * second, sizeMax: 1_300)
        #expect(try pair.left.pathMTU(pair.rightID).orThrow() < 1_330)
        pair.left.endpointChanged(pair.rightID, .test(77))
        // An answer of the old path comes first, and takes nothing away.
        let late = PathAnswer(number: 1, sentAt: 0, receivedAt: 0)
        _ = pair.left.pathAnswered(pair.rightID, late, arrivedAt: 1, now: 40 * second)
        pair.left.noteActivity(pair.rightID, now: 40 * second)
        let actions = advance(pair.left, 40 * second)
        #expect(actions.names.last == "limitPackets(1420)")
        // Nothing large before somebody has answered from there.
        let silence = run(pair.left, from: 40 * second, to: 50 * second, sizeMax: -1)
        #expect(!probes(actions + silence).contains { $0.datagramByteCount > 0 })
        let answered = run(pair.left, from: 50 * second, to: 55 * second, sizeMax: .max)
        #expect(probes(answered).contains { $0.datagramByteCount == 1_452 })
        let six = Endpoint(address: IPAddress(high: 0x2001_0db8 << 32, low: 1), port: 9)
        pair.left.endpointChanged(pair.rightID, six)
        _ = run(pair.left, from: 55 * second, to: 75 * second, sizeMax: 1_232)
        #expect(pair.left.pathMTU(pair.rightID) == 1_280)
    }

    @Test func peerWithoutEndpointIsNotProbed() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = run(pair.left, from: second, to: 3 * second, sizeMax: .max)
        pair.left.setEndpoint(pair.rightID, nil, now: 3 * second)
        #expect(probes(run(pair.left, from: 3 * second, to: 9 * second, sizeMax: .max)).isEmpty)
        pair.left.endpointChanged(pair.rightID, .test(5))
        #expect(!probes(advance(pair.left, 9 * second)).isEmpty)
    }

    @Test func otherMTUOfTheTunnelIsTriedAnew() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = run(pair.left, from: second, to: 3 * second, sizeMax: .max)
        for (mtu, limit) in [(9_000, 9_000), (1_280, 1_280), (576, 1_220), (65_535, 65_475)] {
            pair.left.setPacketMax(mtu)
            let actions = advance(pair.left, 4 * second)
            #expect(probes(actions).last?.datagramByteCount == limit + 32)
            #expect(actions.names.last == "limitPackets(\(limit))")
        }
        pair.left.setPacketMax(65_535)
        #expect(advance(pair.left, 4 * second).isEmpty, "nothing has changed")
    }

    @Test func otherPaceKeepsWhatIsKnown() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = run(pair.left, from: second, to: 8 * second, sizeMax: 1_300)
        let mtu = try pair.left.pathMTU(pair.rightID).orThrow()
        pair.left.setPathInterval(100 * millisecond)
        let actions = run(pair.left, from: 8 * second, to: 9 * second, sizeMax: 1_300)
        #expect(pair.left.pathMTU(pair.rightID) == mtu)
        #expect(!actions.names.contains { $0.hasPrefix("limit") })
    }

    /// Devices whose sessions began at other times wake their caller at the same ones.
    @Test func pathsAreLookedAtOnCommonTicks() throws {
        var wakes: Set<UInt64> = []
        for offset in [0, 7, 20, 33] as [UInt64] {
            let pair = try Pair(.branchlineAES)
            let start = second + offset * millisecond
            _ = try pair.handshake(now: start)
            _ = advance(pair.left, start)
            while let due = pair.left.nextDeadline, due < start + second {
                wakes.insert(due)
                _ = advance(pair.left, due)
            }
        }
        #expect(wakes.allSatisfy { $0 % (15_625 * millisecond / 1_000) == 0 }, "\(wakes)")
    }

    @Test func otherProfileEndsIt() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = run(pair.left, from: second, to: 3 * second, sizeMax: 1_300)
        pair.left.setProfile(pair.rightID, .wireguard, now: 3 * second)
        #expect(pair.left.actions.drain().names.contains("limitPackets(65535)"))
        #expect(pair.left.pathMTU(pair.rightID) == nil)
        #expect(probes(run(pair.left, from: 3 * second, to: 6 * second, sizeMax: 0)).isEmpty)
    }

    /// Another process's probes may be answered before this one has sent any.
    @Test func answerBeforeTheFirstProbeEndsNothing() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        let answer = PathAnswer(number: 3, sentAt: 0, receivedAt: 0)
        #expect(pair.left.pathAnswered(pair.rightID, answer, arrivedAt: 9, now: second) == nil)
        #expect(pair.left.pathAnswered(1_000, answer, arrivedAt: 9, now: second) == nil)
        #expect(probes(advance(pair.left, second)).count == 2)
    }

    /// Probes keep no session alive and begin none.
    @Test func measuringEndsWithTheSession() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        let actions = run(pair.left, from: second, to: 300 * second, sizeMax: .max)
        #expect(actions.handshake(.initiation) == nil)
        #expect(probes(actions).count < 40)
        #expect(pair.left.nextDeadline.map { $0 > 300 * second } ?? true)
    }

    // MARK: Deadlines

    @Test(arguments: Seeds.count(10))
    func deviceAlwaysEndsItsPass(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let pair = try Pair(.branchlineChaCha)
        var now = second
        _ = try pair.handshake(now: now)
        // The session lasts as long as the test.
        var open: [PathProbe] = []
        for _ in 0..<1_500 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: pair.left.setPacketMax(Int.random(in: 68...65_535, using: &random))
            case 1: pair.left.setPathInterval(random.next() % second)
            case 2: pair.left.endpointChanged(pair.rightID, .test(UInt8(random.next() % 9)))
            case 3: pair.left.noteActivity(pair.rightID, now: now)
            case 4...7:
                guard let probe = open.randomElement(using: &random) else { break }
                let answer = answer(
                    probe, at: random.chance(percent: 50) ? now : random.next(),
                    size: random.chance(percent: 50) ? nil : UInt16(random.next() & 0xffff))
                _ = pair.left.pathAnswered(
                    pair.rightID, answer, arrivedAt: now / 1_000, now: now)
            default: now += random.next() % (second / 2)
            }
            let actions = advance(pair.left, now)
            open = Array((open + probes(actions)).suffix(40))
            #expect(pair.left.nextDeadline.map { $0 > now } ?? true)
            let limit = try pair.left.peer(pair.rightID).orThrow().packetMax
            #expect(limit.map { $0 >= 1_200 && $0 <= 65_475 } ?? true)
        }
    }
}
