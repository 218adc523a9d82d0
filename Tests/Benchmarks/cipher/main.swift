// Nanoseconds per packet of every packet cipher on this machine, and of the handshake's
// primitives. Medians of interleaved rounds, with the ratio to libsodium in the same run.
//
//     swift run -c release cipher-benchmark [--json]

import Cryptography
import PacketMemory

let roundCount = 15
let packetSizes = [64, 576, 1420]

/// One thing to time: `count` repetitions a round.
struct Measurement {
    let name: String
    let count: Int
    let run: (Int) -> Void
    var rounds: [Double] = []

    init(_ name: String, count: Int, run: @escaping (Int) -> Void) {
        self.name = name
        self.count = count
        self.run = run
    }

    mutating func measure() {
        let elapsed = ContinuousClock().measure { run(count) }
        let (seconds, attoseconds) = elapsed.components
        rounds.append((Double(seconds) * 1e9 + Double(attoseconds) / 1e9) / Double(count))
    }

    var median: Double { rounds.sorted()[rounds.count / 2] }
    /// Half the distance between the quartiles, relative to the median.
    var spread: Double {
        let sorted = rounds.sorted()
        return (sorted[rounds.count * 3 / 4] - sorted[rounds.count / 4]) / 2 / median
    }
}

func packetMeasurements(_ cipher: PacketCipher, size: Int) -> [Measurement] {
    let name = cipher.implementation.rawValue
    let key = SharedSecret(), plaintext = ByteArena(count: size)
    let sealed = ByteArena(count: size + 16)
    plaintext.whole.fill(with: 7)
    var all = [
        Measurement("\(name)_chacha_seal_\(size)_ns", count: 4000) { count in
            for counter in 0..<UInt64(count) {
                cipher.sealChaCha20Poly1305(
                    key: key.secret, counter: counter, plaintext: plaintext.whole,
                    into: sealed.whole)
            }
        },
        Measurement("\(name)_chacha_open_\(size)_ns", count: 4000) { count in
            cipher.sealChaCha20Poly1305(
                key: key.secret, counter: 1, plaintext: plaintext.whole, into: sealed.whole)
            for _ in 0..<count {
                let isAuthentic = cipher.openChaCha20Poly1305(
                    key: key.secret, counter: 1, input: sealed.whole, into: plaintext.whole)
                precondition(isAuthentic, "a packet was not authentic")
            }
        },
    ]
    if let key = cipher.expandAES256GCM(key.secret) {
        all.append(
            Measurement("\(name)_aes256gcm_seal_\(size)_ns", count: 4000) { count in
                for counter in 0..<UInt64(count) {
                    cipher.sealAES256GCM(
                        key: key, counter: counter, plaintext: plaintext.whole, into: sealed.whole)
                }
            })
    }
    return all
}

func handshakeMeasurements() -> [Measurement] {
    let privateKey = PrivateKey.generate(), publicKey = PrivateKey.generate().publicKey
    let block = ByteArena(count: 64 * 64), input = ByteArena(count: 32)
    block.whole.fill(with: 1)
    input.whole.fill(with: 2)
    return [
        Measurement("x25519_ns", count: 40) { count in
            var shared = Secret32()
            for _ in 0..<count { _ = privateKey.sharedSecret(with: publicKey, into: &shared) }
        },
        Measurement("x25519_generate_ns", count: 40) { count in
            for _ in 0..<count { _ = PrivateKey.generate() }
        },
        Measurement("blake2s_block_ns", count: 6400) { count in
            for _ in 0..<(count / 64) { _ = BLAKE2s.hash(block.whole) }
        },
        Measurement("blake2s_hash_64_bytes_ns", count: 2000) { count in
            for _ in 0..<count { _ = BLAKE2s.hash(block.whole.prefix(32), input.whole) }
        },
        Measurement("blake2s_mac_116_bytes_ns", count: 2000) { count in
            for _ in 0..<count { _ = BLAKE2s.mac(key: input.whole, block.whole.prefix(116)) }
        },
        Measurement("hkdf_1_ns", count: 1000) { count in
            var chainingKey = Secret32()
            for _ in 0..<count { HKDFBLAKE2s.mix(&chainingKey, input.whole) }
        },
        Measurement("hkdf_2_ns", count: 1000) { count in
            var chainingKey = Secret32(), key = Secret32()
            for _ in 0..<count { HKDFBLAKE2s.mix(&chainingKey, input.whole, key: &key) }
        },
        Measurement("hkdf_3_ns", count: 1000) { count in
            var chainingKey = Secret32(), temporary = Secret32(), key = Secret32()
            for _ in 0..<count {
                HKDFBLAKE2s.mix(&chainingKey, input.whole, temporary: &temporary, key: &key)
            }
        },
        Measurement("handshake_aead_seal_32_bytes_ns", count: 1000) { count in
            let key = Secret32.random(), associated = Digest32(), sealed = ByteArena(count: 48)
            for _ in 0..<count {
                HandshakeAEAD.seal(
                    key: key, counter: 0, plaintext: input.whole, associated: associated,
                    into: sealed.whole)
            }
        },
    ]
}

/// A random secret that closures can share.
final class SharedSecret {
    let secret = Secret32.random()
}

func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(width - text.count, 0)) + text
}

let ciphers = PacketCipher.Implementation.allCases.map { PacketCipher($0) }
var measurements = packetSizes.flatMap { size in
    ciphers.flatMap { packetMeasurements($0, size: size) }
}
measurements += handshakeMeasurements()
for _ in 0..<roundCount {
    for index in measurements.indices { measurements[index].measure() }
}

if CommandLine.arguments.contains("--json") {
    let fields = measurements.map { "  \"\($0.name)\": \(Int($0.median + 0.5))" }
    print("{\n\(fields.joined(separator: ",\n"))\n}")
} else {
    for cipher in ciphers { print("\(cipher.implementation.rawValue): \(cipher.summary)") }
    print("in use: \(PacketCipher().summary)\n")
    let medians = Dictionary(uniqueKeysWithValues: measurements.map { ($0.name, $0.median) })
    for measurement in measurements {
        let reference = ciphers.lazy.map(\.implementation.rawValue)
            .first { measurement.name.hasPrefix($0) }
            .flatMap { medians["libsodium" + measurement.name.dropFirst($0.count)] }
        let ratio = reference.map { "\(Int(measurement.median / $0 * 100)) % of libsodium" } ?? ""
        print(
            padded(measurement.name, 42), padded("\(Int(measurement.median + 0.5))", 7),
            "±\(Int(measurement.spread * 100 + 0.5)) %", ratio)
    }
}
