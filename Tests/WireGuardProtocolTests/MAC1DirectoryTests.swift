import Cryptography
import Foundation
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

struct MAC1DirectoryTests {
    /// The directory behind a reference, so that expectations can call it.
    private final class Directory {
        private var directory = MAC1Directory()
        var count: Int { directory.count }

        func set(_ key: PublicKey, for tunnel: Int32) -> Bool { directory.set(key, for: tunnel) }
        func remove(_ tunnel: Int32) { directory.remove(tunnel) }
        func find(_ message: [UInt8], hint: Int32? = nil) -> Int32? {
            let arena = ByteArena(message.isEmpty ? [0] : message)
            return directory.find(arena.whole.prefix(message.count), hint: hint)
        }
    }

    /// A message that carries a valid `mac1` for the owner of a key, and is noise otherwise.
    private func message(
        for key: PublicKey, byteCount: Int, _ random: inout SeededGenerator
    ) -> [UInt8] {
        let arena = ByteArena(random.bytes(byteCount))
        arena.whole[WireGuardMessage.typeOffset + 1] = random.chance(percent: 50) ? 1 : 0
        MessageMAC.mac1(of: arena.whole, key: MessageMAC.mac1Key(of: key))
            .write(to: MessageMAC.mac1Field(arena.whole))
        return arena.whole.bytes
    }

    @Test(arguments: TunnelProfile.allCases)
    func initiationsAndResponsesFindTheirReceiver(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let directory = Directory()
        for tunnel in 0..<100 as Range<Int32> {
            _ = directory.set(PrivateKey.generate().publicKey, for: tunnel)
        }
        let left = pair.leftKey.publicKey, right = pair.rightKey.publicKey
        #expect(directory.set(right, for: 7) && directory.set(left, for: 205))
        #expect(directory.count == 101)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(directory.find(initiation) == 7)
        #expect(pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
            == .accepted(pair.leftID))
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(directory.find(response) == 205)
        for hint in [7, 205, 3, -1, 1_000] as [Int32] {
            #expect(directory.find(initiation, hint: hint) == 7)
            #expect(directory.find(response, hint: hint) == 205)
        }
        // The other profile's mac1 is nobody's.
        for message in [initiation, response] {
            let owner = message == initiation ? pair.rightKey : pair.leftKey
            #expect(directory.find(MessageMACTests.sealedAsOther(message, owner)) == nil)
        }
    }

    @Test func tenantsOfBothProfilesAreToldApart() throws {
        let directory = Directory()
        let keys = (0..<40 as Range<UInt8>).map { PrivateKey.seeded(100 + $0).publicKey }
        for (tunnel, key) in keys.enumerated() {
            #expect(directory.set(key, for: Int32(tunnel)))
        }
        let branch = WireGuardDevice(workerCount: 1)
        branch.setPrivateKey(.seeded(1), now: 0)
        for (tunnel, key) in keys.enumerated() {
            let id = try branch.addPeer(key, now: 0).orThrow()
            branch.setEndpoint(id, .test(1), now: 0)
            for profile in TunnelProfile.allCases {
                branch.setProfile(id, profile, now: 0)
                _ = branch.actions.drain()
                let initiation = try branch.initiate(id, now: second).orThrow()
                #expect(initiation.count == (profile.family == .wireguard ? 148 : 1_348))
                for hint in [nil, Int32(tunnel), 3] {
                    #expect(directory.find(initiation, hint: hint) == Int32(tunnel))
                }
            }
        }
    }

    @Test func theIndependentVectorFindsItsReceiver() throws {
        let url = try Bundle.module.url(
            forResource: "wireguard_handshake", withExtension: "json", subdirectory: "Vectors"
        ).orThrow()
        let vector = try JSONDecoder().decode(
            WireGuardVectorTests.Vector.self, from: Data(contentsOf: url))
        let initiator = try PrivateKey(hex: vector.initiator_static.utf8).orThrow()
        let responder = try PrivateKey(hex: vector.responder_static.utf8).orThrow()
        let directory = Directory()
        #expect(directory.set(initiator.publicKey, for: 1))
        #expect(directory.set(responder.publicKey, for: 2))
        #expect(directory.find(bytes(hex: vector.initiation)) == 2)
        #expect(directory.find(bytes(hex: vector.response)) == 1)
    }

    @Test func theHybridVectorsFindTheirReceiver() throws {
        let vectors = try BranchlineVectorTests.file.orThrow().handshakes
        let directory = Directory()
        for (place, vector) in vectors.enumerated() {
            for (end, text) in [vector.initiator_static, vector.responder_static].enumerated() {
                let key = try PrivateKey(hex: text.utf8).orThrow()
                #expect(directory.set(key.publicKey, for: Int32(2 * place + end)))
            }
        }
        for (place, vector) in vectors.enumerated() {
            #expect(directory.find(bytes(hex: vector.response)) == Int32(2 * place))
            #expect(directory.find(bytes(hex: vector.initiation)) == Int32(2 * place + 1))
        }
    }

    /// What the directory finds is what each device alone would accept.
    @Test(arguments: 0..<10)
    func itAgreesWithEveryDevice(seed: UInt64) throws {
        print("mac1 directory seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let keys = (0..<60).map { _ in PrivateKey.generate().publicKey }
        let directory = Directory()
        var model: [Int32: PublicKey] = [:]
        for step in 0..<400 {
            let place = "seed \(seed), step \(step)"
            let tunnel = Int32.random(in: 0..<40, using: &random)
            let key = keys[Int.random(in: 0..<60, using: &random)]
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4:
                let isTaken = model.contains { $0.value == key && $0.key != tunnel }
                let isSet = directory.set(key, for: tunnel)
                #expect(isSet == !isTaken, "\(place)")
                if isSet { model[tunnel] = key }
            case 4..<6:
                directory.remove(tunnel)
                model[tunnel] = nil
            default:
                let count = [148, 92, 33, 1_348].randomElement(using: &random) ?? 148
                var message = message(for: key, byteCount: count, &random)
                if random.chance(percent: 20) {
                    message[Int.random(in: 0..<count - 16, using: &random)] ^= 1
                }
                let arena = ByteArena(message)
                let expected = model.first {
                    CookieChecker($0.value).isMAC1Valid(arena.whole.prefix(count))
                }
                let hint = random.chance(percent: 50) ? tunnel : nil
                #expect(directory.find(message, hint: hint) == expected?.key, "\(place)")
            }
            #expect(directory.count == model.count, "\(place)")
        }
    }

    @Test func aKeyBelongsToOneTunnel() {
        let first = PrivateKey.generate().publicKey, second = PrivateKey.generate().publicKey
        let directory = Directory()
        #expect(directory.set(first, for: 1))
        // Again is fine, for another is not.
        #expect(directory.set(first, for: 1))
        #expect(!directory.set(first, for: 2))
        #expect(directory.set(second, for: 1))
        #expect(directory.set(first, for: 2))
        directory.remove(1)
        #expect(directory.set(second, for: 2))
        #expect(directory.count == 1)
    }

    @Test func shortAndForeignMessagesFindNobody() {
        var random = SeededGenerator(seed: 5)
        let key = PrivateKey.generate().publicKey
        let directory = Directory()
        #expect(directory.find(message(for: key, byteCount: 148, &random), hint: 0) == nil)
        _ = directory.set(key, for: 0)
        for count in 0...32 { #expect(directory.find(random.bytes(count), hint: 0) == nil) }
        for count in [33, 64, 92, 148, 1_348] {
            #expect(directory.find(random.bytes(count)) == nil)
            #expect(directory.find(message(for: key, byteCount: count, &random)) == 0)
        }
    }

    @Test func hintsAreRememberedBySource() {
        var hints = TunnelHints(seed: 99)
        let sources = (0..<200 as Range<UInt32>).map { IPAddress(ipv4: 0x0a01_0000 + $0) }
        for source in sources {
            let hint = hints[source]
            #expect(hint == nil)
        }
        for (number, source) in sources.enumerated() { hints.note(Int32(number), for: source) }
        // A few share a place.
        var kept = 0
        for (number, source) in sources.enumerated() where hints[source] == Int32(number) {
            kept += 1
        }
        #expect(kept >= 180)
        hints.note(5, for: sources[0])
        let last = hints[sources[0]]
        #expect(last == 5)
    }

    /// Addresses that share a place under one seed are spread under another.
    @Test func collisionsDependOnTheSeed() {
        func sharers(seed: UInt64, among lows: [UInt64]) -> [UInt64] {
            var hints = TunnelHints(seed: seed)
            hints.note(1, for: IPAddress(high: 0x2001, low: 0))
            var found: [UInt64] = []
            for low in lows where hints[IPAddress(high: 0x2001, low: low)] != nil {
                found.append(low)
            }
            return found
        }
        let first = sharers(seed: 1, among: Array(1...100_000))
        #expect((10...50).contains(first.count))
        #expect(sharers(seed: 2, among: first).count < 3)
    }
}
