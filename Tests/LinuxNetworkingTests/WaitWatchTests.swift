import Testing

@testable import LinuxNetworking

private let millisecond: UInt64 = 1_000_000

/// A thread that waits for its processor the given share of the time, looked at every 10 ms.
private struct Busy {
    var watch = WaitWatch(jitterNanoseconds: 0)
    var now: UInt64 = 1_000 * millisecond
    var waited: UInt64 = 0
    var ran: UInt64 = 0
    var homecomings = 0

    /// - Returns: How often it moved on.
    mutating func moves(
        inWindows count: Int, waitingPercent percent: UInt64, runningPercent: UInt64 = 40
    ) -> Int {
        var moves = 0
        for _ in 0..<count {
            now += WaitWatch.windowNanoseconds
            waited += WaitWatch.windowNanoseconds / 100 * percent
            ran += WaitWatch.windowNanoseconds / 100 * runningPercent
            switch watch.next(ran: ran, waited: waited, now: now) {
            case .stay: break
            case .moveOn: moves += 1
            case .goHome: homecomings += 1
            }
        }
        return moves
    }
}

@Suite struct WaitWatchTests {
    @Test func threadThatWaitsAQuarterOfTheTimeStays() {
        var busy = Busy()
        #expect(busy.moves(inWindows: 100, waitingPercent: 25) == 0)
    }

    @Test func threadThatWaitsLongerMovesAfterOneWindow() {
        var busy = Busy()
        #expect(busy.moves(inWindows: 10, waitingPercent: 0) == 0)
        #expect(busy.moves(inWindows: 1, waitingPercent: 26) == 1)
        #expect(busy.moves(inWindows: 10, waitingPercent: 0) == 0)
    }

    @Test func threadThatFindsNoFreeProcessorTriesEverMoreSeldom() {
        var busy = Busy()
        let first = busy.moves(inWindows: 100, waitingPercent: 60)
        let later = busy.moves(inWindows: 100, waitingPercent: 60)
        let muchLater = busy.moves(inWindows: 1_000, waitingPercent: 60)
        #expect(first > later && first < 10)
        #expect(muchLater <= 4)
        // After a calm time it reacts at once again.
        #expect(busy.moves(inWindows: 2_500, waitingPercent: 0) == 0)
        #expect(busy.moves(inWindows: 1, waitingPercent: 60) == 1)
        #expect(busy.moves(inWindows: 10, waitingPercent: 60) >= 2)
    }

    @Test func timeBeforeALongSleepDoesNotCount() {
        var busy = Busy()
        _ = busy.moves(inWindows: 1, waitingPercent: 0)
        busy.now += WaitWatch.windowMaxNanoseconds
        busy.waited += WaitWatch.windowMaxNanoseconds
        busy.ran += WaitWatch.windowMaxNanoseconds
        let step = busy.watch.next(ran: busy.ran, waited: busy.waited, now: busy.now)
        #expect(step == .stay)
        #expect(busy.moves(inWindows: 1, waitingPercent: 60) == 1)
    }

    @Test func threadWithLittleToDoGoesHomeAfterAWhile() {
        var busy = Busy()
        let windows = WaitWatch.calmWindowsMin
        _ = busy.moves(inWindows: windows * 3, waitingPercent: 0, runningPercent: 13)
        #expect(busy.homecomings == 0)
        _ = busy.moves(inWindows: windows - 1, waitingPercent: 0, runningPercent: 12)
        #expect(busy.homecomings == 0)
        _ = busy.moves(inWindows: 1, waitingPercent: 0, runningPercent: 12)
        #expect(busy.homecomings == 1)
        // One busy window, and it begins to count anew.
        _ = busy.moves(inWindows: windows - 1, waitingPercent: 0, runningPercent: 5)
        _ = busy.moves(inWindows: 1, waitingPercent: 0, runningPercent: 50)
        _ = busy.moves(inWindows: windows - 1, waitingPercent: 60, runningPercent: 5)
        #expect(busy.homecomings == 1)
    }

    @Test func windowIsDueOnceItsTimeHasPassed() {
        var busy = Busy()
        _ = busy.moves(inWindows: 1, waitingPercent: 0)
        #expect(!busy.watch.isDue(now: busy.now + WaitWatch.windowNanoseconds - 1))
        #expect(busy.watch.isDue(now: busy.now + WaitWatch.windowNanoseconds))
    }
}
