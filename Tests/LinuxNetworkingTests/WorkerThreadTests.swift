import CLinux
import Glibc
import LinuxNetworking
import Synchronization
import TestSupport
import Testing

struct WorkerThreadTests {
    @Test func bodyRunsOnceOnANamedThreadBeforeJoinReturns() throws {
        let names = Mutex<[String]>([])
        let thread = try WorkerThread.start(name: "a-name-beyond-fifteen-bytes") { _ in
            var buffer = [CChar](repeating: 0, count: 16)
            pthread_getname(&buffer)
            let name = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
            names.withLock { $0.append(name) }
        }
        thread.join()
        thread.join()
        #expect(names.withLock { $0 } == ["a-name-beyond-f"])
        #expect(thread.schedulingFallbacks == [])
    }

    @Test func threadsOfOtherNamesInUTF8AreCutAtACharacter() throws {
        try WorkerThread.start(name: "ääääääääää") { _ in }.join()
    }

    @Test(.enabled(if: isRoot, "needs root"), arguments: [-5, 10])
    func nicenessHoldsForTheThreadAlone(_ niceness: Int) throws {
        let own = ownNiceness()
        let seen = Mutex<Int32>(99)
        let thread = try WorkerThread.start(name: "nice", niceness: niceness) { _ in
            let value = ownNiceness()
            seen.withLock { $0 = value }
        }
        thread.join()
        #expect(seen.withLock { $0 } == Int32(niceness))
        #expect(ownNiceness() == own)
        #expect(thread.schedulingFallbacks == [])
    }

    @Test(.enabled(if: isRoot, "needs root"))
    func sliceIsSetOrItsAbsenceIsTold() throws {
        let seen = Mutex<(slice: UInt64, niceness: Int32)>((0, 99))
        let thread = try WorkerThread.start(
            name: "slice", niceness: -3, sliceNanoseconds: 200_000
        ) { _ in
            var slice: UInt64 = 0
            clinux_slice(0, &slice)
            let result = (slice, ownNiceness())
            seen.withLock { $0 = result }
        }
        thread.join()
        #expect(seen.withLock { $0.niceness } == -3)
        if thread.schedulingFallbacks.isEmpty {
            #expect(seen.withLock { $0.slice } == 200_000)
        } else {
            #expect(thread.schedulingFallbacks.count == 1)
            #expect(thread.schedulingFallbacks[0].contains("time slice"))
        }
    }

    @Test func threadStaysOnItsProcessorAndIsNotMovedWithoutNeed() throws {
        let seen = Mutex<[Int32]>([])
        let moves = Mutex<Int?>(nil)
        let thread = try WorkerThread.start(name: "placed", processor: 7) { placement in
            var processors = [Int32](repeating: 0, count: 1_024)
            let count = clinux_allowed_processors(&processors, Int32(processors.count))
            let found = Array(processors.prefix(Int(count)))
            seen.withLock { $0 = found }
            placement?.review(now: Clock.monotonicNanoseconds())
            let moveCount = placement?.moveCount
            moves.withLock { $0 = moveCount }
        }
        thread.join()
        #expect(thread.schedulingFallbacks == [])
        #expect(seen.withLock { $0.count } == 1)
        #expect(moves.withLock { $0 } == 0)
    }

    /// The calling thread's name. pthread_getname_np, read from proc.
    private func pthread_getname(_ buffer: inout [CChar]) {
        let descriptor = open("/proc/thread-self/comm", O_RDONLY)
        let count = read(descriptor, &buffer, 15)
        close(descriptor)
        if count > 0, buffer[count - 1] == 10 { buffer[count - 1] = 0 }
    }
}

/// Of the calling thread.
private func ownNiceness() -> Int32 {
    getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
}
