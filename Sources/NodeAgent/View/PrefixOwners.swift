import PacketFormats

/// Networks that belong to peers, none of which overlaps another one.
///
/// Peers that agree to share a network may all have it, and networks of their own inside of it.
struct PrefixOwners: Hashable, Sendable {
    /// Sorted, so that what overlaps a network is its neighbour.
    private var prefixes: [IPPrefix] = []
    /// How many peers share each of them, where they would share it.
    private var sharers: [IPPrefix: Int] = [:]
    /// Networks inside of those, and how many peers share each; 0 for one of a single peer.
    private var inner: [IPPrefix: Int] = [:]

    /// The first network here that shares an address with one of `wanted`, and may not.
    ///
    /// - Parameter shared: Of `wanted`, what others who share it may have as well.
    /// - Complexity: O(log n) for each.
    func overlap(with wanted: Set<IPPrefix>, sharing shared: Set<IPPrefix> = []) -> IPPrefix? {
        for prefix in wanted {
            let index = position(of: prefix)
            if index < prefixes.count, prefix.holds(prefixes[index]) {
                let isShared = prefix == prefixes[index] && isCommon(prefix, shared)
                guard isShared else { return prefixes[index] }
            }
            if index > 0, prefixes[index - 1].holds(prefix) {
                guard isCommon(prefixes[index - 1], shared) else { return prefixes[index - 1] }
            }
            if let count = inner[prefix] {
                guard count > 0, shared.contains(prefix) else { return prefix }
            }
        }
        return nil
    }

    private func isCommon(_ prefix: IPPrefix, _ shared: Set<IPPrefix>) -> Bool {
        shared.contains(prefix) && sharers[prefix] != nil
    }

    /// - Parameter wanted: Of one peer, and overlapping nobody else's.
    mutating func insert(_ wanted: Set<IPPrefix>, sharing shared: Set<IPPrefix> = []) {
        let widest = Self.widest(of: wanted)
        for prefix in widest {
            if shared.contains(prefix) { sharers[prefix, default: 0] += 1 }
            guard sharers[prefix, default: 1] == 1 else { continue }
            prefixes.insert(prefix, at: position(of: prefix))
        }
        guard !shared.isEmpty else { return }
        for prefix in wanted.subtracting(widest) {
            inner[prefix, default: 0] += shared.contains(prefix) ? 1 : 0
        }
    }

    /// - Parameters: As they were inserted.
    mutating func remove(_ wanted: Set<IPPrefix>, sharing shared: Set<IPPrefix> = []) {
        let widest = Self.widest(of: wanted)
        for prefix in widest {
            if shared.contains(prefix), let count = sharers[prefix] {
                sharers[prefix] = count > 1 ? count - 1 : nil
                guard count == 1 else { continue }
            }
            let index = position(of: prefix)
            if index < prefixes.count, prefixes[index] == prefix { prefixes.remove(at: index) }
        }
        guard !shared.isEmpty else { return }
        for prefix in wanted.subtracting(widest) {
            let count = inner[prefix] ?? 0
            inner[prefix] = count > 1 ? count - 1 : nil
        }
    }

    /// An address of a peer may lie in one of its own networks.
    private static func widest(of prefixes: Set<IPPrefix>) -> Set<IPPrefix> {
        prefixes.filter { prefix in
            !prefixes.contains { $0 != prefix && $0.holds(prefix) }
        }
    }

    /// Of the first network that does not come before `prefix`.
    private func position(of prefix: IPPrefix) -> Int {
        var low = 0, high = prefixes.count
        while low < high {
            let middle = (low + high) / 2
            if prefixes[middle] < prefix { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
