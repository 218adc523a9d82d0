/// Spaces frames at a line's rate, for one owner: the time at which the next one may leave.
///
/// A frame leaves whole as soon as that time has come, and moves it on by what the frame takes of
/// the line, exactly. After a pause at most ``idleBurstNanoseconds`` are made up for, so that
/// little waits in the line's own buffer; while frames wait, up to ``latenessNanoseconds``, so that
/// a timer that fires late costs nothing of the rate.
///
/// The rate may change at any time: what is owed is kept in bytes. Whoever measures the queueing
/// delay of the path adapts the rate with ``setShape(_:now:)``.
struct LinkShaper {
    /// Monotonic nanoseconds.
    private(set) var readyAt: UInt64 = 0
    private(set) var shape: LinkShape
    /// What is not yet in `readyAt`, in nanoseconds over the rate.
    private var rest: UInt64 = 0
    /// Frames have waited since the last one left.
    private var isBusy = false
    private var idleSlack: UInt64 = 0

    init(_ shape: LinkShape) {
        self.shape = shape
        fit()
    }

    @inline(__always)
    func isReady(_ now: UInt64) -> Bool { readyAt <= now }

    /// Notes a frame that leaves now.
    mutating func charge(_ byteCount: Int, now: UInt64) {
        let slack = isBusy ? max(Self.latenessNanoseconds, idleSlack) : idleSlack
        isBusy = true
        let earliest = now &- min(now, slack)
        if readyAt < earliest {
            readyAt = earliest
            rest = 0
        }
        let price = Self.bitNanoseconds(byteCount) &+ rest
        let rate = UInt64(shape.bitsPerSecond)
        let (whole, remainder) = price.quotientAndRemainder(dividingBy: rate)
        readyAt &+= whole
        rest = remainder
    }

    /// Takes back what was charged for a frame that did not leave after all.
    mutating func refund(_ byteCount: Int) {
        let time = Self.bitNanoseconds(byteCount) / UInt64(shape.bitsPerSecond)
        readyAt &-= min(time, readyAt)
    }

    /// Nothing waits: the time from here on is not made up for.
    @inline(__always)
    mutating func pause() { isBusy = false }

    mutating func setShape(_ new: LinkShape, now: UInt64) {
        let owed = readyAt &- min(now, readyAt)
        let product = owed.multipliedFullWidth(by: UInt64(shape.bitsPerSecond))
        let rate = UInt64(new.bitsPerSecond)
        let scaled =
            product.high < rate ? rate.dividingFullWidth(product).quotient : UInt64(Int64.max)
        if owed > 0 { readyAt = now &+ min(scaled, UInt64(Int64.max)) }
        rest = 0
        shape = new
        fit()
    }

    private mutating func fit() {
        let packet = shape.packetNanoseconds
        idleSlack = max(Self.idleBurstNanoseconds, 2 * packet) - packet
    }

    @inline(__always)
    private static func bitNanoseconds(_ byteCount: Int) -> UInt64 {
        UInt64(max(0, min(byteCount, 1 << 30))) &* 8_000_000_000
    }

    /// What passes at once after a pause, as time at the rate; but two packets of full size.
    static let idleBurstNanoseconds: UInt64 = 1_000_000
    static let latenessNanoseconds: UInt64 = 4_000_000
}

extension LinkShape {
    /// What a packet of full size takes.
    var packetNanoseconds: UInt64 {
        UInt64(Self.packetBytes) * 8_000_000_000 / UInt64(bitsPerSecond)
    }

    /// What may wait for the line: what it sends in half a second, and a few frames.
    var backlogBytesMax: Int { max(Int(bitsPerSecond / 16), 4 << 16) }

    /// A full Ethernet frame, without its checksum.
    public static let packetBytes = 1_514
}
