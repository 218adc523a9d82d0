import PacketFormats
import TestSupport
import Testing

@testable import WireGuardProtocol

struct ReplayWindowTests {
    private static let size = UInt64(ImplementationLimits.replayWindowSize)
    private static let limit = size + 1
    private static let reject = ProtocolConstants.rejectAfterMessages

    /// Counter and whether it is accepted; the cases of the kernel's own test, in its order.
    private static let kernelCases: [(UInt64, Bool)] = [
        (0, true), (1, true), (1, false), (9, true), (8, true), (7, true), (7, false),
        (limit, true), (limit - 1, true), (limit - 1, false), (limit - 2, true),
        (2, true), (2, false), (limit + 16, true), (3, false), (limit + 16, false),
        (limit * 4, true), (limit * 4 - (limit - 1), true), (10, false),
        (limit * 4 - limit, false), (limit * 4 - (limit + 1), false),
        (limit * 4 - (limit - 2), true), (limit * 4 + 1 - limit, false), (0, false),
        (reject, false), (reject - 1, true), (reject, false), (reject - 1, false),
        (reject - 2, true), (reject + 1, false), (reject + 2, false), (reject - 2, false),
        (reject - 3, true), (0, false),
    ]

    @Test func kernelCasesAgree() {
        let window = Tested()
        for (step, (counter, expected)) in Self.kernelCases.enumerated() {
            #expect(window.accept(counter) == expected, "step \(step + 1), counter \(counter)")
        }
    }

    @Test func ascendingRunIsAcceptedOnce() {
        let window = Tested()
        for counter in 1...Self.size { #expect(window.accept(counter)) }
        #expect(window.accept(0))
        #expect(!window.accept(0))
    }

    @Test func descendingRunIsAcceptedDownToTheEdge() {
        let window = Tested()
        for counter in stride(from: Self.size + 1, through: 1, by: -1) {
            #expect(window.accept(counter))
        }
        #expect(!window.accept(0))
    }

    @Test(arguments: [1, 63, 64, 65, 8_127, 8_128, 8_129, 8_191, 8_192, 8_193, 1 << 40] as [UInt64])
    func jumpForgetsOnlyWhatLeavesTheWindow(_ jump: UInt64) {
        let window = Tested()
        let base: UInt64 = 20_000
        for counter in base - 100...base { #expect(window.accept(counter)) }
        #expect(window.accept(base + jump))
        #expect(!window.accept(base + jump))
        // Accepted before, so refused whether still inside or behind the window.
        for counter in base - 100...base { #expect(!window.accept(counter)) }
        // Never seen: accepted exactly while inside.
        let oldest = base + jump - Self.size
        if oldest > base { #expect(window.accept(oldest)) }
        #expect(!window.accept(oldest - 1) || oldest - 1 > base)
    }

    /// The first counter inside a window and the last outside, with the greatest on any bit.
    @Test(arguments: [65_535, 65_536, 65_537, 65_599, 131_071, 131_072, 200_000] as [UInt64])
    func wideWindowIsAsWideAsItsBits(_ greatest: UInt64) {
        for profile in TunnelProfile.hybrids {
            let window = Tested(profile)
            #expect(window.accept(greatest))
            let oldest = greatest - 65_535
            if oldest > 0 { #expect(!window.accept(oldest - 1)) }
            #expect(window.accept(oldest) && !window.accept(oldest))
            #expect(window.accept(oldest + 1) && !window.accept(oldest + 1))
            #expect(window.accept(greatest - 1) && !window.accept(greatest))
            // One more, and the oldest is behind.
            #expect(window.accept(greatest + 1))
            #expect(!window.accept(oldest))
            #expect(window.acceptedCount == 5)
        }
    }

    @Test(arguments: TunnelProfile.allCases)
    func wholeRunIsAcceptedOnceInAnyOrder(_ profile: TunnelProfile) {
        let window = Tested(profile)
        let width = profile.replayWindow.reach + 1
        for start in [0, width, 10 * width + 7] {
            let run = start..<start + width
            for counter in run.reversed() { #expect(window.accept(counter)) }
            for counter in run { #expect(!window.accept(counter)) }
        }
        #expect(window.acceptedCount == 3 * width)
    }

    @Test(arguments: Seeds.count(8), TunnelProfile.allCases)
    func windowAgreesWithASet(_ seed: UInt64, _ profile: TunnelProfile) {
        var generator = SeededGenerator(seed: seed)
        let window = Tested(profile)
        let size = profile.replayWindow.reach
        var seen: Set<UInt64> = []
        var greatest: UInt64 = 0
        for _ in 0..<20_000 {
            let forward = generator.chance(percent: 40)
            let far = profile.family == .wireguard ? 20_000 : 160_000
            let reach = generator.chance(percent: 2) ? far : 300
            let distance = UInt64.random(in: 0...UInt64(reach), using: &generator)
            let counter = forward ? greatest + distance : greatest - min(greatest, distance)
            let isInside = counter + size >= greatest
            let expected = isInside && !seen.contains(counter)
            #expect(window.accept(counter) == expected)
            if expected {
                seen.insert(counter)
                greatest = max(greatest, counter)
            }
        }
        #expect(window.acceptedCount == UInt64(seen.count))
        #expect(window.missingCount == greatest + 1 - UInt64(seen.count))
    }

    /// A window that expectations can change.
    private final class Tested {
        private var window: ReplayWindow
        init(_ profile: TunnelProfile = .wireguard) { window = ReplayWindow(profile) }
        func accept(_ counter: UInt64) -> Bool { window.accept(counter) }
        var acceptedCount: UInt64 { window.acceptedCount }
        var missingCount: UInt64 { window.missingCount }
    }
}
