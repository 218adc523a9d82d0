import CSodium
import Synchronization

/// Memory for secrets that the kernel neither swaps out nor writes into a dump, where it lets us.
///
/// Pages are locked as a whole, so secrets share them: blocks of one size lie in slabs, which are
/// kept for later blocks of that size. Where the process may lock no more (RLIMIT_MEMLOCK), further
/// slabs are not locked, and ``isComplete`` says so. Any thread may call.
enum LockedMemory {
    /// Whether all secrets so far are in locked memory.
    static var isComplete: Bool { slabs.withLock { $0.isComplete } }

    /// - Parameter byteCount: 1...65,536.
    /// - Returns: As many zeros, aligned to 32 bytes, and to 64 where there are more than 32.
    static func allocate(byteCount: Int) -> UnsafeMutableRawPointer {
        let size = blockSize(byteCount)
        let block = slabs.withLock { $0.take(size) }
        // Invariant: all that is in the lists is an address inside a slab.
        return unsafe UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped
    }

    /// Wipes and gives back what ``allocate(byteCount:)`` gave for as many bytes.
    static func free(_ start: UnsafeMutableRawPointer, byteCount: Int) {
        let size = blockSize(byteCount)
        unsafe sodium_memzero(start, size)
        let block = UInt(bitPattern: start)
        slabs.withLock { $0.give(block, size) }
    }

    private static func blockSize(_ byteCount: Int) -> Int {
        precondition((1...Slabs.slabByteCount).contains(byteCount), "a secret's size")
        return byteCount <= 32 ? 32 : (byteCount + 63) & ~63
    }

    private static let slabs = Mutex(Slabs())

    /// Addresses of free blocks by their size.
    private struct Slabs {
        private var free: [Int: [UInt]] = [:]
        private(set) var isComplete = true

        static let slabByteCount = 1 << 16
        private static let pageByteCount = 1 << 12

        mutating func take(_ size: Int) -> UInt {
            if free[size]?.isEmpty ?? true { add(size) }
            return free[size]!.removeLast()
        }

        mutating func give(_ block: UInt, _ size: Int) { free[size, default: []].append(block) }

        private mutating func add(_ size: Int) {
            let start = UnsafeMutableRawPointer.allocate(
                byteCount: Self.slabByteCount, alignment: Self.pageByteCount)
            unsafe start.initializeMemory(
                as: UInt8.self, repeating: 0, count: Self.slabByteCount)
            // mlock, and madvise with MADV_DONTDUMP.
            if unsafe sodium_mlock(start, Self.slabByteCount) != 0 { isComplete = false }
            let first = UInt(bitPattern: start)
            let offsets = stride(from: 0, through: Self.slabByteCount - size, by: size)
            // The first is taken first.
            free[size] = offsets.map { first + UInt($0) }.reversed()
        }
    }
}
