import Cryptography
import PacketMemory
import TestSupport
import Testing

struct Argon2idTests {
    /// Keys that OpenSSL 3 derives with one lane and the salt 00 01 … 0f.
    @Test(arguments: [
        ("password", 2, 65_536, "3fde0023e9c90652edac14784971e4258e084751bce00b5965d995c639b15cff"),
        ("", 3, 8192, "f58cb5cd03e8c6ffcca951d916843cfb306171cbd2e846975dc38d77bf6ad073"),
        ("grün", 1, 8, "1e6bb22a97de4221c882c7045914b623abebce415204239234e52dadb2f9843b"),
    ])
    func anotherImplementationAgrees(
        passphrase: String, passes: Int, memoryKibibytes: Int, hex: String
    ) {
        var key = Secret32()
        let isDerived = derive(passphrase, passes, memoryKibibytes, into: &key)
        #expect(isDerived)
        #expect(key.copyOfBytes() == bytes(hex: hex))
    }

    @Test func moreMemoryThanThereIsIsRefused() {
        var key = Secret32.random()
        let isDerived = derive("password", 1, 1 << 42, into: &key)
        #expect(!isDerived)
        let isZero = key.isZero
        #expect(isZero)
    }

    private func derive(
        _ passphrase: String, _ passes: Int, _ memoryKibibytes: Int, into key: inout Secret32
    ) -> Bool {
        ByteArena.withCopy(of: [UInt8](passphrase.utf8)) { passphrase in
            ByteArena.withCopy(of: [UInt8](0..<16)) { salt in
                Argon2id.derive(
                    passphrase: passphrase, salt: salt, passes: passes,
                    memoryBytes: memoryKibibytes << 10, into: &key)
            }
        }
    }
}
