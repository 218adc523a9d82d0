import CQREncode

/// Bytes as a QR code, for a telephone's camera in front of a terminal.
///
/// Source: ISO/IEC 18004, as libqrencode has it.
public struct QRCode: Hashable, Sendable {
    /// Modules on each side, without the quiet zone.
    public let width: Int
    /// Row by row; whether a module is dark.
    private let modules: [Bool]

    /// The most bytes that a code holds.
    public static var byteCountMax: Int { 2953 }

    /// With the lowest level of error correction: a screen has no stains.
    ///
    /// - Returns: `nil` for no bytes and for more than fit. `QRcode_encodeData`
    public init?(_ bytes: [UInt8]) {
        guard (1...Self.byteCountMax).contains(bytes.count) else { return nil }
        let code = unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe QRcode_encodeData(
                CInt(bytes.count), bytes.baseAddress, 0, QR_ECLEVEL_L)
        }
        guard let code = unsafe code else { return nil }
        defer { unsafe QRcode_free(code) }
        let width = unsafe Int(code.pointee.width)
        self.width = width
        // Invariant: the library fills width * width bytes, of which the lowest bit says dark.
        modules = (0..<width * width).map { unsafe code.pointee.data[$0] & 1 == 1 }
    }

    /// Lines of half blocks, two rows of modules in each, dark on a light ground whatever the
    /// terminal's colours, with the quiet zone of four modules around.
    public var terminalLines: [String] {
        let rows = (width + 2 * Self.quietCount + 1) / 2
        return (0..<rows).map { row in
            let y = 2 * row - Self.quietCount
            let blocks = (-Self.quietCount..<width + Self.quietCount).map { x in
                switch (isDark(x, y), isDark(x, y + 1)) {
                case (false, false): " "
                case (false, true): "\u{2584}"
                case (true, false): "\u{2580}"
                case (true, true): "\u{2588}"
                }
            }
            return Self.blackOnWhite + blocks.joined() + Self.plain
        }
    }

    private func isDark(_ x: Int, _ y: Int) -> Bool {
        (0..<width).contains(x) && (0..<width).contains(y) && modules[y * width + x]
    }

    private static let quietCount = 4
    /// ECMA-48, SGR, with the 256 colours that terminals have beyond it.
    private static let blackOnWhite = "\u{1B}[38;5;16;48;5;231m"
    private static let plain = "\u{1B}[0m"
}
