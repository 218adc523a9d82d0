import PacketFormats
import Synchronization
import WireGuardConfiguration

/// What one worker counts of the classes of one tunnel's frames that leave.
///
/// The worker alone adds, so that adding takes no locked instruction; any thread reads.
final class ClassCounters: Sendable {
    enum Kind: Int, CaseIterable {
        case packets, bytes, marks, earlyDrops, overflowDrops, outerMarked, innerMarked
        /// The longest of all.
        case sojournMax
    }

    private let words: InlineArray<144, Atomic<UInt64>>
    /// Nanoseconds; never written again.
    private let sojournBounds: InlineArray<12, Atomic<UInt64>>

    /// Words of a class: one for each kind, then the histogram.
    private static var stride: Int { 24 }
    private static var sojournPlace: Int { 8 }

    init() {
        let bounds = QoSStatus.sojournBoundsMicroseconds
        sojournBounds = InlineArray { Atomic(UInt64(bounds[$0]) &* 1_000) }
        words = InlineArray { _ in Atomic(0) }
        precondition(
            bounds.count == sojournBounds.count
                && Kind.allCases.count == Self.sojournPlace
                && Self.sojournPlace + bounds.count + 1 <= Self.stride,
            "a class has room for its histogram")
        precondition(
            TrafficClass.allCases.count * Self.stride <= words.count, "all classes have room")
    }

    @inline(__always)
    func add(_ kind: Kind, _ amount: Int = 1, of trafficClass: TrafficClass) {
        add(amount, at: Self.place(of: trafficClass) &+ kind.rawValue)
    }

    /// Takes note of packets that waited equally long.
    func noteSojourn(_ nanoseconds: UInt64, packets: Int, of trafficClass: TrafficClass) {
        let first = Self.place(of: trafficClass)
        var bucket = 0
        while bucket < sojournBounds.count,
            nanoseconds > sojournBounds[bucket].load(ordering: .relaxed)
        { bucket &+= 1 }
        add(packets, at: first &+ Self.sojournPlace &+ bucket)
        let longest = first &+ Kind.sojournMax.rawValue
        if nanoseconds > words[longest].load(ordering: .relaxed) {
            words[longest].store(nanoseconds, ordering: .relaxed)
        }
    }

    /// Adds all of it to what is said of the class.
    func report(into status: inout QoSStatus.ClassStatus) {
        func total(_ kind: Kind) -> UInt64 { self[kind, status.trafficClass] }
        status.packets &+= total(.packets)
        status.bytes &+= total(.bytes)
        status.marks &+= total(.marks)
        status.earlyDrops &+= total(.earlyDrops)
        status.overflowDrops &+= total(.overflowDrops)
        status.outerMarked &+= total(.outerMarked)
        status.innerMarked &+= total(.innerMarked)
        let first = Self.place(of: status.trafficClass)
        let longest = words[first + Kind.sojournMax.rawValue].load(ordering: .relaxed)
        status.sojournMaxNanoseconds = max(status.sojournMaxNanoseconds, longest)
        let bucketCount = sojournBounds.count + 1
        if status.sojournCounts.isEmpty {
            status.sojournCounts = Array(repeating: 0, count: bucketCount)
        }
        for bucket in 0..<bucketCount {
            status.sojournCounts[bucket] &+= words[first + Self.sojournPlace + bucket].load(
                ordering: .relaxed)
        }
    }

    subscript(kind: Kind, trafficClass: TrafficClass) -> UInt64 {
        words[Self.place(of: trafficClass) + kind.rawValue].load(ordering: .relaxed)
    }

    /// All that several workers count of a class, each kind and then the histogram: sums, but of
    /// the longest sojourn the longest.
    static func sums(of trafficClass: TrafficClass, in sets: [ClassCounters]) -> [UInt64] {
        let first = place(of: trafficClass)
        return (0..<stride).map { offset in
            let amounts = sets.map { $0.words[first + offset].load(ordering: .relaxed) }
            return offset == Kind.sojournMax.rawValue
                ? amounts.max() ?? 0 : amounts.reduce(0, &+)
        }
    }

    /// Adds what another process counted; while no worker does.
    func add(_ sums: [UInt64], to trafficClass: TrafficClass) {
        let first = Self.place(of: trafficClass)
        for (offset, sum) in sums.prefix(Self.stride).enumerated() {
            if offset == Kind.sojournMax.rawValue {
                words[first + offset].max(sum, ordering: .relaxed)
            } else {
                add(Int(truncatingIfNeeded: sum), at: first + offset)
            }
        }
    }

    @inline(__always)
    private func add(_ amount: Int, at index: Int) {
        let word = words[index].load(ordering: .relaxed)
        words[index].store(word &+ UInt64(truncatingIfNeeded: amount), ordering: .relaxed)
    }

    @inline(__always)
    private static func place(of trafficClass: TrafficClass) -> Int {
        Int(trafficClass.rawValue) &* stride
    }
}
