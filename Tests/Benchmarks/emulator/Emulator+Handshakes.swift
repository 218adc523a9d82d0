import Cryptography
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Emulator {
    struct HandshakeResult {
        var completed = 0
        var failed = 0
        var seconds = 0.0
        /// Milliseconds, ascending.
        var latencies: [Double] = []
    }

    /// Makes sessions for all peers that have none, so many at a time.
    func makeSessions(places: [Int], window: Int, patienceSeconds: Double) -> HandshakeResult {
        var result = HandshakeResult()
        let began = Clock.monotonicNanoseconds()
        let waiting = places.filter { peers[$0].usableSession(now: began) == nil }
        var next = 0
        var inFlight: Set<Int> = []
        handshakeCompleted = { [self] place in
            guard inFlight.remove(place) != nil, let start = peers[place].handshakeBeganAt else {
                return
            }
            result.completed += 1
            result.latencies.append(Double(Clock.monotonicNanoseconds() - start) / 1e6)
        }
        let patience = UInt64(patienceSeconds * 1e9)
        var lastSweep = began
        while next < waiting.count || !inFlight.isEmpty {
            while next < waiting.count, inFlight.count < window {
                let place = waiting[next]
                next += 1
                let now = Clock.monotonicNanoseconds()
                // One that began before may have come to its end meanwhile.
                guard peers[place].usableSession(now: now) == nil else {
                    result.completed += 1
                    continue
                }
                inFlight.insert(place)
                peers[place].handshakeBeganAt = now
                peers[place].beginHandshake(now: now, wallClock: .now)
                performActions(of: place, now: now)
            }
            step(timeoutNanoseconds: 1_000_000)
            let now = Clock.monotonicNanoseconds()
            guard now - lastSweep > 100_000_000 else { continue }
            lastSweep = now
            for place in inFlight where now - (peers[place].handshakeBeganAt ?? now) > patience {
                inFlight.remove(place)
                result.failed += 1
            }
        }
        handshakeCompleted = { _ in }
        result.seconds = Double(Clock.monotonicNanoseconds() - began) / 1e9
        result.latencies.sort()
        return result
    }

    /// Makes new sessions of one peer after another, so many at a time.
    ///
    /// - Returns: Handshakes that completed.
    func renewSessions(places: [Int], window: Int, seconds: Double) -> Int {
        let end = Clock.monotonicNanoseconds() + UInt64(seconds * 1e9)
        var completed = 0
        var turn = 0
        var inFlight: Set<Int> = []
        handshakeCompleted = { place in
            if inFlight.remove(place) != nil { completed += 1 }
        }
        var now = Clock.monotonicNanoseconds()
        while now < end, !places.isEmpty {
            while inFlight.count < min(window, places.count) {
                let place = places[turn % places.count]
                turn += 1
                guard inFlight.insert(place).inserted else { continue }
                peers[place].beginHandshakeAnew(now: now, wallClock: .now)
                performActions(of: place, now: now)
            }
            step(timeoutNanoseconds: 1_000_000)
            now = Clock.monotonicNanoseconds()
        }
        handshakeCompleted = { _ in }
        return completed
    }

    /// Initiations as a flood; answers are taken as ever.
    ///
    /// - Returns: Initiations sent.
    func floodHandshakes(places: [Int], isForged: Bool, rate: Double, seconds: Double) -> Int {
        guard !places.isEmpty else { return 0 }
        let key = MAC1Key(identities.gatewayKey(of: peers[places[0]].tenant).publicKey)
        let message = ByteArena(count: WireGuardMessage.Initiation.count)
        var random = SystemRandomNumberGenerator()
        var turn = 0
        return paced(rate: rate, seconds: seconds, most: 16) {
            let place = places[turn % places.count]
            turn += 1
            if isForged {
                forge(into: message.whole, key, &random)
                _ = socket(of: peers[place].port)
                    .send(message.whole, to: destinations[peers[place].port])
            } else {
                let now = Clock.monotonicNanoseconds()
                peers[place].beginHandshakeAnew(now: now, wallClock: .now)
                performActions(of: place, now: now)
            }
            return 1
        }
    }

    /// Garbage that only a Diffie-Hellman can tell from an initiation.
    private func forge(
        into message: ByteRegion, _ key: MAC1Key, _ random: inout SystemRandomNumberGenerator
    ) {
        typealias Layout = WireGuardMessage.Initiation
        for offset in stride(from: 4, to: Layout.mac1Offset, by: 8) {
            message.storeLittleEndian(random.next() as UInt64, at: offset)
        }
        message.storeLittleEndian(WireGuardMessage.Kind.initiation.rawValue, at: 0)
        key.mac(message.prefix(Layout.mac1Offset))
            .write(to: message.region(at: Layout.mac1Offset, count: MAC16.count))
        message.region(at: Layout.mac2Offset, count: MAC16.count).fill(with: 0)
    }
}

/// The key of `mac1`. Source: WireGuard paper, section 5.4.4.
private struct MAC1Key {
    let key: Digest32

    init(_ publicKey: PublicKey) { key = BLAKE2s.hash(Array("mac1----".utf8) + publicKey.bytes) }

    func mac(_ data: ByteRegion) -> MAC16 { key.withBytes { BLAKE2s.mac(key: $0, data) } }
}
