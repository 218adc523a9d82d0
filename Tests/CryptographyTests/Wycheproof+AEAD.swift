import PacketMemory
import TestSupport
import Testing

/// What one case of an AEAD file asks of an implementation.
struct AEADTask {
    let nonce: ByteRegion
    let associated: ByteRegion
    /// Plaintext for sealing, ciphertext and tag for opening.
    let input: ByteRegion
    /// As long as what is to be written.
    let output: ByteRegion
}

/// Runs all cases of a file whose sizes fit, both ways, out of place and in place.
///
/// - Parameter seal: Encrypts a task under the key.
/// - Parameter open: Decrypts it; says whether it was authentic.
/// - Returns: How many cases ran.
func checkAEAD(
    _ file: String, nonceBits: Int, keyBits: Int,
    seal: ([UInt8], AEADTask) throws -> Void, open: ([UInt8], AEADTask) throws -> Bool
) throws -> Int {
    let content = try Vectors.load(file, as: WycheproofFile<AEADGroup>.self)
    var count = 0
    for group in content.testGroups
    where group.ivSize == nonceBits && group.keySize == keyBits && group.tagSize == 128 {
        for test in group.tests {
            count += 1
            try checkAEAD(test, seal: seal, open: open)
        }
    }
    return count
}

private func checkAEAD(
    _ test: AEADCase, seal: ([UInt8], AEADTask) throws -> Void,
    open: ([UInt8], AEADTask) throws -> Bool
) throws {
    let key = test.key.bytes, message = test.msg.bytes
    let sealed = test.ct.bytes + test.tag.bytes
    let nonce = ByteArena(test.iv.bytes), associated = ByteArena(test.aad.bytes)
    func task(_ input: ByteRegion, _ output: ByteRegion) -> AEADTask {
        AEADTask(
            nonce: nonce.whole.prefix(test.iv.bytes.count),
            associated: associated.whole.prefix(test.aad.bytes.count), input: input,
            output: output)
    }
    for isInPlace in [false, true] {
        let comment = Comment(rawValue: "case \(test.tcId), in place: \(isInPlace)")
        if test.result == .valid {
            let source = ByteArena(message, extra: 16), other = ByteArena(count: sealed.count)
            let output = (isInPlace ? source : other).whole.prefix(sealed.count)
            try seal(key, task(source.whole.prefix(message.count), output))
            #expect(output.bytes == sealed, comment)
        }
        let source = ByteArena(sealed), other = ByteArena(sealed)
        let output = (isInPlace ? source : other).whole.prefix(message.count)
        let isAuthentic = try open(key, task(source.whole.prefix(sealed.count), output))
        #expect(isAuthentic == (test.result == .valid), comment)
        let expected = isAuthentic ? message : [UInt8](repeating: 0, count: message.count)
        #expect(output.bytes == expected, comment)
    }
}
