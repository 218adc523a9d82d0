import Cryptography
import PacketMemory
import TestSupport
import Testing

@testable import ControlModel

struct KeyFileTests {
    private let passphrase = [UInt8]("correct horse".utf8)

    private func sealed(
        _ key: borrowing SigningKey, passphrase: [UInt8], kind: KeyFile.Kind = .admin
    ) throws -> [UInt8] {
        // Noncopyable values cannot be captured by escaping closures; these do not escape.
        let text = ByteArena(passphrase), salt = ByteArena([UInt8](0..<16))
        let nonce = ByteArena([UInt8](0..<24))
        return try KeyFile.sealed(
            key, kind: kind, passphrase: text.whole.prefix(passphrase.count), cost: .least,
            salt: salt.whole.prefix(16), nonce: nonce.whole.prefix(24))
    }

    private func unprotected(_ key: borrowing SigningKey) -> [UInt8] {
        let arena = ByteArena(count: KeyFile.unprotectedCount)
        KeyFile.writeUnprotected(key, kind: .admin, to: arena.whole)
        return arena.whole.bytes
    }

    /// The public key of what was opened.
    private func open(
        _ file: [UInt8], kind: KeyFile.Kind = .admin, passphrase: [UInt8]? = nil
    ) throws(KeyFileFault) -> VerifyingKey {
        let arena = ByteArena(file), text = passphrase.map { ByteArena($0) }
        let region = text?.whole.prefix(passphrase?.count ?? 0)
        return try KeyFile.open(
            arena.whole.prefix(file.count), kind: kind, passphrase: region
        ).verifyingKey
    }

    private func fault(
        _ file: [UInt8], kind: KeyFile.Kind = .admin, passphrase: [UInt8]? = nil
    ) -> KeyFileFault? {
        do {
            _ = try open(file, kind: kind, passphrase: passphrase)
            return nil
        } catch {
            return error
        }
    }

    @Test func aSealedKeyOpensWithItsPassphraseOnly() throws {
        let key = World.key(1), verifyingKey = key.verifyingKey
        let file = try sealed(key, passphrase: passphrase)
        #expect(file.count == KeyFile.protectedCount)
        #expect(try open(file, passphrase: passphrase) == verifyingKey)
        #expect(fault(file, passphrase: passphrase + [0]) == .wrongPassphraseOrDamaged)
        #expect(fault(file, passphrase: passphrase.dropLast()) == .wrongPassphraseOrDamaged)
        #expect(fault(file, passphrase: []) == .passphraseMissing)
        #expect(fault(file) == .passphraseMissing)
        let isSecretInside = key.withSeed { seed in contains(file, seed.bytes) }
        #expect(!isSecretInside)
    }

    @Test func anUnprotectedKeyRoundTrips() throws {
        let key = World.key(1), verifyingKey = key.verifyingKey
        let file = unprotected(key)
        #expect(file.count == KeyFile.unprotectedCount)
        #expect(try open(file) == verifyingKey)
        #expect(fault(file, passphrase: passphrase) == .passphraseUnexpected)
    }

    @Test func theFormIsRecognised() throws {
        let key = World.key(1)
        for (file, needs) in [
            (unprotected(key), false), (try sealed(key, passphrase: passphrase), true),
        ] {
            let arena = ByteArena(file)
            #expect(try KeyFile.needsPassphrase(arena.whole.prefix(file.count)) == needs)
        }
    }

    /// A root's key is not taken for an admin's.
    @Test(arguments: KeyFile.Kind.allCases)
    func eachKindOpensAsItself(kind: KeyFile.Kind) throws {
        let file = try sealed(World.key(1), passphrase: passphrase, kind: kind)
        for other in KeyFile.Kind.allCases {
            let found = fault(file, kind: other, passphrase: passphrase)
            #expect(found == (other == kind ? nil : .wrongKind))
        }
        // Changing the byte does not help: it is authenticated.
        var relabelled = file
        let other: KeyFile.Kind = kind == .root ? .admin : .root
        relabelled[9] = other.rawValue
        #expect(
            fault(relabelled, kind: other, passphrase: passphrase) == .wrongPassphraseOrDamaged)
    }

    @Test func everyDamagedByteIsSeen() throws {
        let file = try sealed(World.key(1), passphrase: passphrase)
        for offset in file.indices {
            var damaged = file
            damaged[offset] ^= 0x40
            // Damage to salt, nonce, key and seed costs one derivation each; a few will do.
            guard offset < 20 || offset % 12 == 0 else { continue }
            #expect(fault(damaged, passphrase: passphrase) != nil, "byte \(offset)")
        }
        for count in 0..<file.count {
            #expect(fault(Array(file.prefix(count)), passphrase: passphrase) == .notAKeyFile)
        }
        #expect(fault(file + [0], passphrase: passphrase) == .notAKeyFile)
    }

    @Test func everyDamagedByteOfAnUnprotectedKeyIsSeen() {
        let file = unprotected(World.key(1))
        for offset in file.indices {
            for bit in 0..<8 {
                var damaged = file
                damaged[offset] ^= 1 << bit
                #expect(fault(damaged) != nil, "byte \(offset), bit \(bit)")
            }
        }
        var damaged = file
        damaged[100] ^= 1
        #expect(fault(damaged) == .keyMismatch)
        damaged = file
        damaged[8] = 2
        #expect(fault(damaged) == .unsupportedVersion)
    }

    /// A file may not make its reader compute for hours or allocate everything.
    @Test func theStoredCostIsBounded() throws {
        let file = try sealed(World.key(1), passphrase: passphrase)
        func costing(_ passes: UInt32, _ kibibytes: UInt32) -> [UInt8] {
            var other = file
            withUnsafeBytes(of: passes.littleEndian) { other.replaceSubrange(12..<16, with: $0) }
            withUnsafeBytes(of: kibibytes.littleEndian) {
                other.replaceSubrange(16..<20, with: $0)
            }
            return other
        }
        for (passes, kibibytes): (UInt32, UInt32) in [
            (0, 65_536), (1, 65_536), (9, 65_536), (.max, 65_536), (2, 0), (2, 65_535),
            (2, 1_048_577), (2, .max),
        ] {
            #expect(
                fault(costing(passes, kibibytes), passphrase: passphrase) == .costOutOfBounds)
        }
        #expect(fault(costing(3, 65_536), passphrase: passphrase) == .wrongPassphraseOrDamaged)
        #expect(KeyFile.Cost(passes: 2, memoryKibibytes: 65_536) == .least)
        #expect(KeyFile.Cost(passes: 8, memoryKibibytes: 1_048_576) != nil)
        #expect(KeyFile.Cost(passes: 3, memoryKibibytes: 262_144) == .standard)
    }

    @Test func passphrasesAreBounded() throws {
        let longest = [UInt8](repeating: 0x61, count: KeyFile.passphraseBytesMax)
        let file = try sealed(World.key(1), passphrase: longest)
        #expect(fault(file, passphrase: longest) == nil)
        #expect(fault(file, passphrase: longest + [0x61]) == .passphraseTooLong)
        #expect(throws: KeyFileFault.passphraseMissing) { try sealed(World.key(1), passphrase: []) }
    }

    private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        (0...bytes.count - part.count).contains { bytes[$0...].starts(with: part) }
    }
}
