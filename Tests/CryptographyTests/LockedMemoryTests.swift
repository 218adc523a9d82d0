import Foundation
import PacketMemory
import Testing

@testable import Cryptography

@Suite struct LockedMemoryTests {
    /// What the kernel says of the mapping that an address is in (proc_pid_smaps(5), VmFlags).
    private func flags(of address: UnsafeMutableRawPointer) throws -> Set<Substring> {
        let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
        let text = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
        let wanted = unsafe UInt(bitPattern: address)
        var isWanted = false
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            if bounds.count == 2, words.count > 4 {
                isWanted = (bounds[0]..<bounds[1]).contains(wanted)
            } else if isWanted, words[0] == "VmFlags:" {
                return Set(words.dropFirst())
            }
        }
        return []
    }

    /// Tests run as root, who may lock what it likes.
    @Test func secretsAreNeitherSwappedNorDumped() throws {
        let secret = Secret32.random()
        let found = unsafe try flags(of: secret.unsafeStart)
        #expect(found.isSuperset(of: ["lo", "dd"]), "\(found)")
        #expect(SecureMemory.isLocked)
    }

    @Test func blocksAreZeroAlignedAndApart() {
        var blocks: [(start: UnsafeMutableRawPointer, size: Int)] = unsafe []
        for size in [1, 32, 33, 64, 1_024, 1_300, 65_536] {
            for _ in 0..<50 {
                let start = LockedMemory.allocate(byteCount: size)
                let bytes = unsafe UnsafeMutableRawBufferPointer(start: start, count: size)
                #expect(unsafe bytes.allSatisfy { $0 == 0 })
                #expect(unsafe UInt(bitPattern: start) % (size <= 32 ? 32 : 64) == 0)
                unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0xff)
                unsafe blocks.append((start, size))
            }
        }
        unsafe blocks.sort { unsafe $0.start < $1.start }
        for index in 1..<blocks.count {
            unsafe #expect(blocks[index - 1].start + blocks[index - 1].size <= blocks[index].start)
        }
        for block in unsafe blocks { unsafe LockedMemory.free(block.start, byteCount: block.size) }
        // What comes back is wiped, whoever had it.
        for _ in 0..<100 {
            let start = LockedMemory.allocate(byteCount: 1_300)
            let bytes = unsafe UnsafeMutableRawBufferPointer(start: start, count: 1_300)
            #expect(unsafe bytes.allSatisfy { $0 == 0 })
        }
    }

    @Test func manyThreadsHaveBlocksOfTheirOwn() async {
        await withTaskGroup(of: Bool.self) { group in
            for mark in UInt8(1)...8 {
                group.addTask {
                    for _ in 0..<2_000 {
                        var secret = Secret32()
                        guard secret.isZero else { return false }
                        secret.withMutableBytes { $0.fill(with: mark) }
                        guard secret.withBytes({ $0.bytes.allSatisfy { $0 == mark } }) else {
                            return false
                        }
                    }
                    return true
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
