import PacketMemory

/// Which row of ``RuleVectors`` each port of one transport has: 256 pages of 256 ports, equal
/// pages kept once.
final class PortRows: Sendable {
    private let arena: ByteArena
    private let bytes: ByteRegion

    /// - Parameter starts: First port and row of each interval, ascending, the first at 0.
    init(_ starts: [(port: Int, row: Int32)]) {
        var pages: [[Int32]: Int] = [:]
        var leaves: [[Int32]] = []
        var directory: [Int] = []
        var next = 0
        for page in 0..<Self.pageSize {
            var rows: [Int32] = []
            rows.reserveCapacity(Self.pageSize)
            for port in page * Self.pageSize..<(page + 1) * Self.pageSize {
                while next + 1 < starts.count, starts[next + 1].port <= port { next += 1 }
                rows.append(starts[next].row)
            }
            if let known = pages[rows] {
                directory.append(known)
            } else {
                pages[rows] = leaves.count
                directory.append(leaves.count)
                leaves.append(rows)
            }
        }
        arena = ByteArena(count: (Self.pageSize + leaves.count * Self.pageSize) * 4)
        bytes = arena.whole
        for (index, leaf) in directory.enumerated() {
            bytes.storeLittleEndian(UInt32(leaf), at: index * 4)
        }
        for (index, leaf) in leaves.enumerated() {
            let base = (index + 1) * Self.pageSize
            for (place, row) in leaf.enumerated() {
                bytes.storeLittleEndian(UInt32(bitPattern: row), at: (base + place) * 4)
            }
        }
    }

    var byteCount: Int { bytes.count }

    @inline(__always)
    func row(of port: UInt16) -> Int32 {
        let page = bytes.littleEndian32(at: Int(port >> 8) &* 4)
        let place = (Int(page) &+ 1) &* Self.pageSize &+ Int(port & 0xff)
        return Int32(bitPattern: bytes.littleEndian32(at: place &* 4))
    }

    private static let pageSize = 256
}
