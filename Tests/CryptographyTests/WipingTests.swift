import Cryptography
import Testing

@Suite struct WipingTests {
    /// What lies in an array's memory, behind its end too.
    private func memory(of bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBufferPointer {
            Array(UnsafeBufferPointer(start: $0.baseAddress, count: bytes.capacity))
        }
    }

    @Test func wipedArrayIsEmptyAndItsMemoryZero() {
        var bytes = [UInt8](repeating: 7, count: 100)
        bytes.wipe(from: 60)
        #expect(bytes == [UInt8](repeating: 7, count: 60))
        #expect(!memory(of: bytes)[60..<100].contains(7))
        bytes.wipe()
        #expect(bytes.isEmpty && bytes.capacity >= 100)
        #expect(!memory(of: bytes)[..<100].contains(7))
        bytes.wipe()
    }

    @Test func bytesThatMovedUpAreNotLeftBehind() {
        for count in [0, 1, 40, 99, 100] {
            var bytes = (0..<100).map { UInt8($0 + 1) }
            bytes.removeFirstWiping(count)
            #expect(bytes == (count..<100).map { UInt8($0 + 1) })
            #expect(memory(of: bytes)[(100 - count)..<100].allSatisfy { $0 == 0 })
        }
    }

    @Test func growingKeepsTheBytes() {
        var bytes: [UInt8] = []
        for number in 0..<1_000 { bytes.appendWiping([UInt8(truncatingIfNeeded: number)]) }
        #expect(bytes == (0..<1_000).map { UInt8(truncatingIfNeeded: $0) })
        bytes.reserveWiping(5_000)
        #expect(bytes.capacity >= 6_000 && bytes.count == 1_000)
    }
}
