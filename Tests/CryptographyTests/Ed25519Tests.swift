import Cryptography
import TestSupport
import Testing

struct Ed25519Tests {
    struct Example: Decodable {
        let name: String
        let secretKey, publicKey, message, signature: HexBytes
    }

    struct Group: Decodable {
        struct Key: Decodable { let pk: HexBytes }
        struct Case: Decodable {
            let tcId: Int
            let comment: String
            let msg, sig: HexBytes
            let result: WycheproofResult
        }
        let publicKey: Key
        let tests: [Case]
    }

    /// Source: RFC 8032, section 7.1.
    @Test func specificationExamplesHold() throws {
        let examples = try Vectors.load("rfc8032_ed25519", as: [Example].self)
        #expect(examples.count == 5)
        for example in examples {
            let key = SigningKey(seed: Secret32(bytes: example.secretKey.bytes))
            let verifyingKey = key.verifyingKey
            #expect(verifyingKey.bytes == example.publicKey.bytes, "\(example.name)")
            let signature = key.sign(example.message.bytes)
            #expect(signature.bytes == example.signature.bytes, "\(example.name)")
            #expect(verifyingKey.isValid(signature, for: example.message.bytes), "\(example.name)")
        }
    }

    @Test func wycheproofVectorsHold() throws {
        let file = try Vectors.load("wycheproof_ed25519_test", as: WycheproofFile<Group>.self)
        var count = 0
        for group in file.testGroups {
            let key = try #require(VerifyingKey(bytes: group.publicKey.pk.bytes))
            for test in group.tests {
                count += 1
                let isValid = Signature(bytes: test.sig.bytes)
                    .map { key.isValid($0, for: test.msg.bytes) } ?? false
                #expect(isValid == (test.result == .valid), "case \(test.tcId): \(test.comment)")
            }
        }
        #expect(count == file.numberOfTests)
    }

    /// Source: RFC 8037, appendices A.1, A.2 and A.4.
    @Test func jsonWebSignatureExampleHolds() throws {
        let seed = try #require(Base64URL.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
        let key = SigningKey(seed: Secret32(bytes: seed))
        let verifyingKey = key.verifyingKey
        #expect(verifyingKey.base64URL == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        #expect(Base64URL.encode([UInt8](#"{"alg":"EdDSA"}"#.utf8)) == "eyJhbGciOiJFZERTQSJ9")
        let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
        let signature = key.sign([UInt8](input.utf8))
        #expect(
            Base64URL.encode(signature.bytes)
                == "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr"
                + "_MuM0KAg")
        #expect(verifyingKey.isValid(signature, for: [UInt8](input.utf8)))
    }

    @Test func everyFlippedBitIsRefused() throws {
        let key = SigningKey.generate(), message = [UInt8](0..<40)
        let verifyingKey = key.verifyingKey, signature = key.sign(message)
        for bit in 0..<Signature.count * 8 {
            var bytes = signature.bytes
            bytes[bit / 8] ^= 1 << (bit % 8)
            let forged = try #require(Signature(bytes: bytes))
            #expect(!verifyingKey.isValid(forged, for: message), "bit \(bit)")
        }
        for bit in 0..<message.count * 8 {
            var other = message
            other[bit / 8] ^= 1 << (bit % 8)
            #expect(!verifyingKey.isValid(signature, for: other), "bit \(bit)")
        }
        #expect(!verifyingKey.isValid(signature, for: Array(message.dropLast())))
        #expect(!verifyingKey.isValid(signature, for: message + [0]))
    }

    /// The neutral element and a point of order 8 would "sign" anything.
    @Test func keysOfLowOrderSignNothing() throws {
        for hex in [
            "01" + String(repeating: "00", count: 31),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        ] {
            let key = try #require(VerifyingKey(bytes: bytes(hex: hex)))
            let signature = try #require(
                Signature(bytes: [1] + [UInt8](repeating: 0, count: Signature.count - 1)))
            #expect(!key.isValid(signature, for: []))
        }
    }

    @Test func onlyExactSizesAreKeysAndSignatures() {
        #expect(VerifyingKey(bytes: [UInt8](repeating: 1, count: 31)) == nil)
        #expect(VerifyingKey(bytes: [UInt8](repeating: 1, count: 32)) != nil)
        #expect(VerifyingKey(bytes: [UInt8](repeating: 1, count: 33)) == nil)
        #expect(Signature(bytes: [UInt8](repeating: 1, count: 63)) == nil)
        #expect(Signature(bytes: [UInt8](repeating: 1, count: 64)) != nil)
        #expect(Signature(bytes: [UInt8](repeating: 1, count: 65)) == nil)
    }

    @Test func keyTextRoundTrips() throws {
        let key = SigningKey.generate()
        let copy = key.clone()
        let verifyingKey = key.verifyingKey
        #expect(copy.verifyingKey == verifyingKey)
        #expect(VerifyingKey(base64URL: verifyingKey.base64URL) == verifyingKey)
        #expect(VerifyingKey(base64URL: verifyingKey.base64URL + "=") == nil)
        #expect(VerifyingKey(base64URL: String(verifyingKey.base64URL.dropLast())) == nil)
    }
}

struct Base64URLTests {
    /// Source: RFC 4648, section 10, without the padding.
    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
        ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
    ])
    func specificationExamplesHold(plain: String, text: String) {
        #expect(Base64URL.encode([UInt8](plain.utf8)) == text)
        #expect(Base64URL.decode(text) == [UInt8](plain.utf8))
    }

    @Test func theTwoLastCharactersAreThoseOfURLs() {
        #expect(Base64URL.encode([0xfb, 0xff]) == "-_8")
        #expect(Base64URL.decode("-_8") == [0xfb, 0xff])
        #expect(Base64URL.decode("+/8") == nil)
    }

    @Test(arguments: [
        "A", "Zg=", "Zg==", "Zh", "Zm9", "Zm9v\n", " Zm9v", "Zm 9v", "Zm9vY", "Zm9v.", "Zm9vé", "\0",
    ])
    func otherTextIsRefused(text: String) {
        #expect(Base64URL.decode(text) == nil)
    }

    /// libsodium alone would take every byte from 0x80 on for the last of the alphabet.
    @Test func noByteBeyondTheAlphabetIsRead() {
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        let alphabet = Set((letters + "0123456789-_").utf8)
        for byte in UInt8.min...UInt8.max {
            let text: [UInt8] = [0x41, byte, 0x41, 0x41]
            #expect((Base64URL.decode(text) != nil) == alphabet.contains(byte), "\(byte)")
        }
    }

    @Test func everyLengthRoundTrips() {
        for count in 0...100 {
            let bytes = SeededGenerator.fixed(count)
            #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes)
        }
    }
}
