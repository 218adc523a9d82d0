import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct ControlFramesTests {
    private struct Frame: Equatable {
        var type: UInt8
        var value: [UInt8]
    }

    /// `nil` if the run is refused.
    private func frames(_ plaintext: [UInt8]) -> [Frame]? {
        ByteArena.withCopy(of: plaintext) { region in
            guard var frames = ControlFrames(region) else { return nil }
            var found: [Frame] = []
            while let frame = frames.next() {
                found.append(Frame(type: frame.type, value: frame.value.bytes))
            }
            return found
        }
    }

    @Test func firstNibbleTellsPacketsFromFrames() {
        for byte in UInt8.min...UInt8.max {
            let isControl = ByteArena.withCopy(of: [byte]) { ControlFrames.isControl($0) }
            #expect(isControl == (byte >> 4 != 4 && byte >> 4 != 6))
        }
        let isControl = ByteArena.withCopy(of: []) { ControlFrames.isControl($0) }
        #expect(!isControl)
    }

    @Test func paddingIsLeftOut() {
        for count in 1...64 { #expect(frames([UInt8](repeating: 0, count: count)) == []) }
        #expect(frames([0, 1, 0, 0, 0, 0]) == [Frame(type: 1, value: [])])
    }

    @Test func framesComeInOrderAndUnknownOnesToo() {
        let plaintext: [UInt8] = [1, 3, 0, 97, 98, 99, 0, 0, 255, 0, 0, 7, 1, 0, 0x45, 0]
        #expect(
            frames(plaintext) == [
                Frame(type: 1, value: [97, 98, 99]), Frame(type: 255, value: []),
                Frame(type: 7, value: [0x45]),
            ])
    }

    @Test func frameThatGoesBeyondTheEndSpoilsAll() {
        let good: [UInt8] = [1, 1, 0, 9]
        #expect(frames(good + [2]) == nil)
        #expect(frames(good + [2, 0]) == nil)
        #expect(frames(good + [2, 0, 0]) != nil)
        #expect(frames(good + [2, 1, 0]) == nil)
        #expect(frames(good + [2, 255, 255] + [UInt8](repeating: 0, count: 1_400)) == nil)
    }

    @Test func packetAmongFramesIsRefused() {
        for nibble in [0x40, 0x45, 0x4f, 0x60, 0x6f] as [UInt8] {
            #expect(frames([nibble, 0, 0]) == nil)
            #expect(frames([1, 0, 0, nibble, 0, 0]) == nil)
            #expect(frames([0, nibble]) == nil)
        }
        #expect(frames([]) == nil)
    }

    @Test func whatIsWrittenIsRead() {
        let arena = ByteArena(count: 600)
        arena.whole.fill(with: 0)
        var written = 0
        for type in [1, 0x3f, 0x50, 0x7f, 0xff] as [UInt8] {
            written += ByteArena.withCopy(of: [UInt8](repeating: type, count: Int(type) % 90)) {
                ControlFrame.write(type: type, value: $0, to: arena.whole.region(from: written))
            }
        }
        let expected = ([1, 0x3f, 0x50, 0x7f, 0xff] as [UInt8]).map {
            Frame(type: $0, value: [UInt8](repeating: $0, count: Int($0) % 90))
        }
        #expect(frames(arena.whole.bytes) == expected)
    }

    @Test(arguments: [UInt64(31), 32, 33])
    func noRandomBytesTrap(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<5_000 {
            var bytes = random.bytes(Int.random(in: 0...80, using: &random))
            for index in bytes.indices where Bool.random(using: &random) { bytes[index] &= 3 }
            guard let found = frames(bytes) else { continue }
            let count = found.reduce(0) { $0 + $1.value.count + ControlFrame.headerCount }
            #expect(count <= bytes.count)
        }
    }
}
