import QRCode
import Testing

@Suite struct QRCodeTests {
    /// Modules as the terminal shows them, quiet zone included.
    private static func rows(_ code: QRCode) -> [[Bool]] {
        code.terminalLines.flatMap { line -> [[Bool]] in
            let blocks = line.filter { " \u{2580}\u{2584}\u{2588}".contains($0) }
            return [
                blocks.map { "\u{2580}\u{2588}".contains($0) },
                blocks.map { "\u{2584}\u{2588}".contains($0) },
            ]
        }
    }

    /// ISO/IEC 18004, section 6.3.3: concentric squares in three corners.
    @Test(arguments: [1, 17, 18, 500, 2953])
    func finderPatternsStandInThreeCorners(count: Int) throws {
        let code = try #require(QRCode([UInt8](repeating: 0x61, count: count)))
        let rows = Self.rows(code)
        #expect(rows.allSatisfy { $0.count == code.width + 8 })
        let finder = [
            [1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 1], [1, 0, 1, 1, 1, 0, 1],
            [1, 0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 1, 0, 1], [1, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 1, 1],
        ]
        let far = 4 + code.width - 7
        for (top, left) in [(4, 4), (4, far), (far, 4)] {
            for (y, row) in finder.enumerated() {
                #expect(rows[top + y][left..<left + 7].map { $0 ? 1 : 0 } == row)
            }
        }
        #expect(rows[..<4].allSatisfy { !$0.contains(true) })
    }

    /// ISO/IEC 18004, table 7: bytes at level L.
    @Test(arguments: [(17, 21), (18, 25), (2953, 177)])
    func versionsGrowAsTheStandardSays(count: Int, width: Int) throws {
        #expect(try #require(QRCode([UInt8](repeating: 0x61, count: count))).width == width)
    }

    @Test func nothingAndTooMuchGiveNoCode() {
        #expect(QRCode([]) == nil)
        #expect(QRCode([UInt8](repeating: 0x61, count: 2954)) == nil)
    }
}
