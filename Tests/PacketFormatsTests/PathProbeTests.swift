import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// Layouts of section 8.1 of the specification, byte by byte.
@Suite struct PathProbeTests {
    private static let probe: [UInt8] = [
        0x01, 12, 0,  // Type, length.
        0x04, 0x03, 0x02, 0x01,  // Number.
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,  // Sent at.
    ]
    private static let answer: [UInt8] = [
        0x02, 46, 0,  // Type, length.
        0x04, 0x03, 0x02, 0x01,  // Number.
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,  // Sent at.
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,  // Received at.
        0x34, 0x33, 0x32, 0x31,  // Held.
        0x42, 0x41,  // Size of the probe's datagram.
        0x54, 0x53, 0x52, 0x51,  // Session.
        0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61,  // Messages received.
        0x78, 0x77, 0x76, 0x75, 0x74, 0x73, 0x72, 0x71,  // Messages expected.
    ]
    private static let answerValues = PathAnswer(
        number: 0x0102_0304, sentAt: 0x1112_1314_1516_1718, receivedAt: 0x2122_2324_2526_2728,
        heldMicroseconds: 0x3132_3334, datagramByteCount: 0x4142, session: 0x5152_5354,
        receivedCount: 0x6162_6364_6566_6768, expectedCount: 0x7172_7374_7576_7778)

    private func written(_ count: Int, _ write: (ByteRegion) -> Void) -> [UInt8] {
        let arena = ByteArena(count: count + 8)
        arena.whole.fill(with: 0xcc)
        write(arena.whole)
        let bytes = arena.whole.bytes
        #expect(bytes[count...].allSatisfy { $0 == 0xcc }, "behind the frame")
        return Array(bytes[..<count])
    }

    /// What the only frame of a plaintext is read as.
    private func read<Value>(_ plaintext: [UInt8], _ make: (ControlFrame) -> Value?) -> Value? {
        ByteArena.withCopy(of: plaintext) { region in
            var frames = ControlFrames(region)
            return frames?.next().flatMap(make)
        }
    }

    /// A frame whose value has another length than it should have.
    private func resized(_ frame: [UInt8], by difference: Int) -> [UInt8] {
        var bytes = frame
        bytes[1] = UInt8(Int(bytes[1]) + difference)
        return difference < 0
            ? bytes.dropLast(-difference)
            : bytes + [UInt8](repeating: 0xee, count: difference)
    }

    @Test func probeHasItsLayout() {
        #expect(PathProbe.frameCount == Self.probe.count)
        for size in [0, 1_452, 65_507] {
            let probe = PathProbe(number: 0x0102_0304, datagramByteCount: size)
            let bytes = written(PathProbe.frameCount) {
                probe.write(sentAt: 0x1112_1314_1516_1718, to: $0)
            }
            #expect(bytes == Self.probe)
        }
        let read = read(Self.probe) { PathProbe.Received($0) }
        #expect(read?.number == 0x0102_0304 && read?.sentAt == 0x1112_1314_1516_1718)
    }

    @Test func answerHasItsLayout() {
        #expect(PathAnswer.frameCount == Self.answer.count)
        let bytes = written(PathAnswer.frameCount) { Self.answerValues.write(to: $0) }
        #expect(bytes == Self.answer)
        #expect(read(Self.answer) { PathAnswer($0) } == Self.answerValues)
    }

    @Test func shorterFramesAreNotReadAndLongerOnesAre() {
        for difference in 1...12 {
            let short = resized(Self.probe, by: -difference)
            #expect(read(short) { PathProbe.Received($0) } == nil)
            let long = resized(Self.probe, by: difference)
            #expect(read(long) { PathProbe.Received($0) }?.number == 0x0102_0304)
        }
        for difference in 1...46 {
            #expect(read(resized(Self.answer, by: -difference)) { PathAnswer($0) } == nil)
            let long = resized(Self.answer, by: difference)
            #expect(read(long) { PathAnswer($0) } == Self.answerValues)
        }
    }

    @Test func framesOfOtherTypesAreNeither() {
        for type in UInt8.min ... .max where type >> 4 != 4 && type >> 4 != 6 {
            var bytes = Self.answer
            bytes[0] = type
            #expect((read(bytes) { PathProbe.Received($0) } != nil) == (type == 1))
            #expect((read(bytes) { PathAnswer($0) } != nil) == (type == 2))
        }
    }

    /// With and without padding, so that a datagram has any size.
    @Test func probesAndAnswersAreFoundInARun() {
        let plaintext: [UInt8] =
            [0] + Self.probe + [9, 1, 0, 5, 0, 0] + Self.answer + [UInt8](repeating: 0, count: 900)
        ByteArena.withCopy(of: plaintext) { region in
            guard var frames = ControlFrames(region) else {
                Issue.record("refused")
                return
            }
            #expect(frames.next().flatMap { PathProbe.Received($0) }?.number == 0x0102_0304)
            #expect(frames.next()?.type == 9)
            #expect(frames.next().flatMap { PathAnswer($0) } == Self.answerValues)
            #expect(frames.next() == nil)
        }
    }

    @Test func extremeValuesSurvive() {
        for number in [0, UInt32.max] {
            let wide: UInt64 = number == 0 ? 0 : .max
            let answer = PathAnswer(
                number: number, sentAt: wide, receivedAt: wide, heldMicroseconds: number,
                datagramByteCount: UInt16(truncatingIfNeeded: number), session: number,
                receivedCount: wide, expectedCount: wide)
            let bytes = written(PathAnswer.frameCount) { answer.write(to: $0) }
            #expect(read(bytes) { PathAnswer($0) } == answer)
        }
    }
}
