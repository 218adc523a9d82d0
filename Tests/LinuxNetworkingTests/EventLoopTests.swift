import Glibc
import LinuxNetworking
import TestSupport
import Testing

struct EventLoopTests {
    @Test func signalledDescriptorIsReportedUntilItIsDrained() throws {
        let loop = try EventLoop()
        let event = try EventDescriptor()
        try loop.add(event.fileDescriptor, token: .max, events: .readable)
        #expect(loop.wait(timeoutNanoseconds: 0) == 0)
        event.signal()
        event.signal()
        for _ in 0..<2 {
            #expect(loop.wait(timeoutNanoseconds: nil) == 1)
            #expect(loop.token(at: 0) == .max)
        }
        #expect(event.drain() == 2)
        #expect(event.drain() == 0)
        #expect(loop.wait(timeoutNanoseconds: 0) == 0)
    }

    @Test func modifiedAndRemovedDescriptorsAreWaitedForAccordingly() throws {
        let loop = try EventLoop(capacity: 1)
        let event = try EventDescriptor()
        try loop.add(event.fileDescriptor, token: 1, events: .readable)
        try loop.modify(event.fileDescriptor, token: 2, events: [.readable, .writable])
        #expect(loop.wait(timeoutNanoseconds: 0) == 1)
        #expect(loop.token(at: 0) == 2)
        try loop.remove(event.fileDescriptor)
        #expect(loop.wait(timeoutNanoseconds: 0) == 0)
        #expect(throws: (any Error).self) { try loop.remove(event.fileDescriptor) }
    }

    @Test(arguments: [1_500_000, 200_000] as [Int64])
    func waitLastsAtLeastItsTimeout(_ nanoseconds: Int64) throws {
        let loop = try EventLoop()
        let start = Clock.monotonicNanoseconds()
        #expect(loop.wait(timeoutNanoseconds: nanoseconds) == 0)
        #expect(Clock.monotonicNanoseconds() - start >= UInt64(nanoseconds))
    }

    @Test func blockedSignalIsRead() throws {
        try onOwnThread {
            let signals = try SignalDescriptor([SIGUSR2])
            #expect(signals.next() == nil)
            pthread_kill(pthread_self(), SIGUSR2)
            #expect(signals.next() == SIGUSR2)
            #expect(signals.next() == nil)
        }
    }
}

struct ClockTests {
    @Test func monotonicTimeNeverGoesBack() {
        let first = Clock.monotonicNanoseconds()
        #expect(Clock.monotonicNanoseconds() >= first)
    }

    @Test func wallClockAgreesWithRealTime() {
        let before = Clock.realtimeNanoseconds()
        let wall = Clock.wallClock()
        let middle = wall.seconds * 1_000_000_000 + UInt64(wall.nanoseconds)
        #expect(before <= middle && middle <= Clock.realtimeNanoseconds())
        #expect(wall.nanoseconds < 1_000_000_000)
    }
}
