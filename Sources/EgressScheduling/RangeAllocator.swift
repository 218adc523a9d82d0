/// Gives out ranges of a table that grows: first fit, neighbours joined again.
///
/// For control paths; allocates.
struct RangeAllocator {
    private(set) var capacity = 0
    /// Unused ranges in order, none beside another.
    private var free: [Range<Int>] = []

    /// - Returns: `nil` if no unused range is long enough: see ``grow(to:)``.
    mutating func take(_ count: Int) -> Range<Int>? {
        guard let index = free.firstIndex(where: { $0.count >= count }) else { return nil }
        let start = free[index].lowerBound
        let rest = start + count..<free[index].upperBound
        if rest.isEmpty { free.remove(at: index) } else { free[index] = rest }
        return start..<start + count
    }

    mutating func giveBack(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        var index = free.firstIndex { $0.lowerBound >= range.upperBound } ?? free.count
        var joined = range
        if index < free.count, free[index].lowerBound == joined.upperBound {
            joined = joined.lowerBound..<free.remove(at: index).upperBound
        }
        if index > 0, free[index - 1].upperBound == joined.lowerBound {
            index -= 1
            joined = free.remove(at: index).lowerBound..<joined.upperBound
        }
        free.insert(joined, at: index)
    }

    mutating func grow(to more: Int) {
        guard more > capacity else { return }
        giveBack(capacity..<more)
        capacity = more
    }
}
