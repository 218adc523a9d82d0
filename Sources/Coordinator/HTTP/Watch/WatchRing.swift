import NIOCore

/// A tenant's newest changes, encoded once for all who watch.
///
/// Bounded in number and bytes; the newest is always there.
struct WatchRing: Sendable {
    static var framesMax: Int { 512 }
    static var bytesMax: Int { 4 << 20 }

    /// Everything after this number, up to `head`, is in the ring.
    private(set) var floor: Int64
    private(set) var head: Int64
    /// In order. What lies before `start` has left; it is cut off now and then.
    private var frames: [WatchFrame] = []
    private var start = 0
    private var bytes = 0

    /// - Parameter newest: The tenant's newest number.
    init(newest: Int64) {
        floor = newest
        head = newest
    }

    var count: Int { frames.count - start }

    /// Takes what is new of changes in order.
    ///
    /// Several may have asked for the same changes: what is there already is left out. After a gap,
    /// which there is where changes were dropped meanwhile, the ring begins anew.
    ///
    /// - Returns: What was new.
    mutating func append(_ changes: [StoredChange]) -> [WatchFrame] {
        let new = changes.filter { $0.number > head }.map(WatchFrame.init)
        guard let first = new.first, let last = new.last else { return [] }
        if first.number != head + 1 {
            frames = []
            start = 0
            bytes = 0
            floor = first.number - 1
        }
        frames += new
        bytes += new.reduce(0) { $0 + $1.buffer.readableBytes }
        head = last.number
        trim()
        return new
    }

    /// - Returns: What follows `number`; `nil` where that is not here any more, or not yet.
    func frames(after number: Int64) -> ArraySlice<WatchFrame>? {
        guard number >= floor, number <= head else { return nil }
        return frames[(start + Int(number - floor))...]
    }

    private mutating func trim() {
        while count > 1, count > Self.framesMax || bytes > Self.bytesMax {
            bytes -= frames[start].buffer.readableBytes
            floor = frames[start].number
            start += 1
        }
        if start > Self.framesMax {
            frames.removeFirst(start)
            start = 0
        }
    }
}
