import ControlModel
import Cryptography
import PacketMemory

extension AdminFolder {
    /// The public key of a key file; `nil` where there is none.
    func publicKey(_ file: File) throws -> VerifyingKey? {
        guard var bytes = try read(file) else { return nil }
        defer { bytes.wipe() }
        return try explaining(file) { () throws(KeyFileFault) in
            let arena = ByteArena(count: max(bytes.count, 1))
            let region = Self.copy(bytes, to: arena)
            defer { SecureMemory.wipe(region) }
            return try KeyFile.publicKey(region)
        }
    }

    /// Whether a key file wants a passphrase; `nil` where there is none.
    func isSealed(_ file: File) throws -> Bool? {
        guard var bytes = try read(file) else { return nil }
        defer { bytes.wipe() }
        return try explaining(file) { () throws(KeyFileFault) in
            let arena = ByteArena(count: max(bytes.count, 1))
            let region = Self.copy(bytes, to: arena)
            defer { SecureMemory.wipe(region) }
            return try KeyFile.needsPassphrase(region)
        }
    }

    /// Opens a key, asking for its passphrase where it has one.
    func openKey(_ file: File, _ passphrase: PassphraseOptions) throws -> SigningKey {
        guard var bytes = try read(file) else {
            throw Failure.failed(
                file == .adminKey
                    ? "there is no admin's key in \(path); run `branchline admin init`, or "
                        + "`branchline admin request` for a key that another admin signs"
                    : "the root key is not in \(path); do this where `branchline admin init` ran")
        }
        defer { bytes.wipe() }
        let arena = ByteArena(count: max(bytes.count, 1))
        let region = Self.copy(bytes, to: arena)
        defer { SecureMemory.wipe(region) }
        let kind: KeyFile.Kind = file == .adminKey ? .admin : .root
        let isSealed = try explaining(file) { () throws(KeyFileFault) in
            try KeyFile.needsPassphrase(region)
        }
        guard isSealed else {
            do throws(KeyFileFault) {
                return try KeyFile.open(region, kind: kind, passphrase: nil)
            } catch {
                throw failure(error, file)
            }
        }
        var secret = try passphrase.read(
            for: kind == .root ? "the root key" : "the admin's key")
        defer { secret.wipe() }
        let secretArena = ByteArena(count: max(secret.count, 1))
        let secretRegion = Self.copy(secret, to: secretArena)
        defer { SecureMemory.wipe(secretRegion) }
        do throws(KeyFileFault) {
            return try KeyFile.open(region, kind: kind, passphrase: secretRegion)
        } catch {
            throw failure(error, file)
        }
    }

    /// Writes a key.
    ///
    /// - Parameter passphrase: Seals it; `nil` leaves it to the file's mode.
    func writeKey(
        _ key: borrowing SigningKey, to file: File, passphrase: [UInt8]?
    ) throws {
        let kind: KeyFile.Kind = file == .adminKey ? .admin : .root
        var bytes: [UInt8]
        if let passphrase {
            let arena = ByteArena(count: max(passphrase.count, 1) + Self.saltAndNonceCount)
            let random = arena.whole.prefix(Self.saltAndNonceCount)
            SecureRandom.fill(random)
            let secret = arena.whole.region(
                at: Self.saltAndNonceCount, count: passphrase.count)
            for (offset, byte) in passphrase.enumerated() { secret[offset] = byte }
            defer { SecureMemory.wipe(arena.whole) }
            do throws(KeyFileFault) {
                bytes = try KeyFile.sealed(
                    key, kind: kind, passphrase: secret,
                    salt: random.prefix(Argon2id.saltCount),
                    nonce: random.region(from: Argon2id.saltCount))
            } catch {
                throw failure(error, file)
            }
        } else {
            let arena = ByteArena(count: KeyFile.unprotectedCount)
            KeyFile.writeUnprotected(key, kind: kind, to: arena.whole)
            bytes = arena.whole.bytes
            SecureMemory.wipe(arena.whole)
        }
        defer { bytes.wipe() }
        try write(file, bytes)
    }

    private func explaining<Value>(
        _ file: File, _ body: () throws(KeyFileFault) -> Value
    ) throws -> Value {
        do throws(KeyFileFault) {
            return try body()
        } catch {
            throw failure(error, file)
        }
    }

    private func failure(_ fault: KeyFileFault, _ file: File) -> Failure {
        let path = path(file)
        return switch fault {
        case .wrongPassphraseOrDamaged:
            .failed("\(path) does not open: the passphrase is wrong, or the file is damaged")
        case .passphraseMissing: .badInput("the passphrase is empty")
        case .passphraseTooLong:
            .badInput("the passphrase is longer than \(KeyFile.passphraseBytesMax) bytes")
        case .outOfMemory:
            .failed("there is not enough memory to open \(path); 256 MiB are needed for a moment")
        case .wrongKind: .failed("\(path) holds a key of another kind; put the right file there")
        case .notAKeyFile, .unsupportedVersion, .costOutOfBounds, .keyMismatch,
            .passphraseUnexpected:
            .failed("\(path) is no key file of this version, or damaged (\(fault.rawValue))")
        }
    }

    private static func copy(_ bytes: [UInt8], to arena: ByteArena) -> ByteRegion {
        let region = arena.whole.prefix(bytes.count)
        for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        return region
    }

    private static var saltAndNonceCount: Int { Argon2id.saltCount + XChaCha20Poly1305.nonceCount }
}
