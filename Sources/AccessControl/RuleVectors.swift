import PacketMemory

/// Sets of rules as rows of bits: which rule speaks of a source, a destination, a port.
///
/// A packet is allowed by the rules that are in all three of its rows, which takes one pass over as
/// many words as the rules need, whatever the rules say.
///
/// Source: Lakshman and Stiliadis, High-Speed Policy-based Packet Forwarding Using Efficient
/// Multi-dimensional Range Matching, SIGCOMM 1998.
final class RuleVectors: Sendable {
    /// 64-bit words of a row.
    let wordCount: Int
    private let arena: ByteArena
    private let rows: ByteRegion

    init(_ all: [RuleSet]) {
        wordCount = all.first?.words.count ?? 1
        arena = ByteArena(count: max(all.count, 1) * wordCount * 8)
        rows = arena.whole
        for (row, set) in all.enumerated() {
            for (index, word) in set.words.enumerated() {
                rows.storeLittleEndian(word, at: (row * wordCount + index) * 8)
            }
        }
    }

    var byteCount: Int { rows.count }

    func set(at row: Int32) -> RuleSet {
        RuleSet(words: (0..<wordCount).map { index in
            rows.littleEndian64(at: (Int(row) * wordCount + index) * 8)
        })
    }

    /// The first rule in all three rows; the first in `from` and `to` where there is none.
    @inline(__always)
    func match(from: Int32, to: Int32, ports: Int32) -> AccessDecision {
        let fromRow = Int(from) &* wordCount &* 8
        let toRow = Int(to) &* wordCount &* 8
        let portRow = Int(ports) &* wordCount &* 8
        var nearest = AccessFilter.defaultDeny
        for index in 0..<wordCount {
            let offset = index &* 8
            let pair = rows.littleEndian64(at: fromRow &+ offset)
                & rows.littleEndian64(at: toRow &+ offset)
            guard pair != 0 else { continue }
            let hit = pair & rows.littleEndian64(at: portRow &+ offset)
            if hit != 0 { return AccessDecision(isAllowed: true, rule: Self.rule(hit, index)) }
            if nearest < 0 { nearest = Self.rule(pair, index) }
        }
        return AccessDecision(isAllowed: false, rule: nearest)
    }

    @inline(__always)
    private static func rule(_ word: UInt64, _ index: Int) -> Int32 {
        Int32(truncatingIfNeeded: index &* 64 &+ word.trailingZeroBitCount)
    }
}

/// A set of rules, before it is written down as a row.
struct RuleSet: Hashable {
    private(set) var words: [UInt64]

    init(words: [UInt64]) { self.words = words }

    /// - Parameter ruleCount: How many rules there are.
    init(ruleCount: Int) {
        words = Array(repeating: 0, count: max((ruleCount + 63) / 64, 1))
    }

    mutating func insert(_ rule: Int) { words[rule / 64] |= 1 << UInt64(rule % 64) }

    mutating func formUnion(_ other: RuleSet) {
        for index in words.indices { words[index] |= other.words[index] }
    }

    /// The first of the rules in all three; the first in the first two where there is none.
    static func match(_ from: RuleSet, _ to: RuleSet, _ ports: RuleSet) -> AccessDecision {
        let vectors = RuleVectors([from, to, ports])
        return vectors.match(from: 0, to: 1, ports: 2)
    }
}

/// Rows by their contents: equal ones are kept once.
struct RuleSetTable {
    private(set) var all: [RuleSet] = []
    private var rows: [RuleSet: Int32] = [:]

    mutating func row(of set: RuleSet) -> Int32 {
        if let row = rows[set] { return row }
        let row = Int32(all.count)
        rows[set] = row
        all.append(set)
        return row
    }
}
