import WireGuardConfiguration

/// Configuration files.
///
/// Claims: nothing traps; errors name a line of the file and what is accepted; what is accepted
/// survives being written and read again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConfigurationText(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    let bytes = input.rest()
    do {
        let file = try WireGuardFile(parsing: bytes)
        let text = file.text
        guard let again = try? WireGuardFile(parsing: text) else {
            claim(false, "a written file is refused:\n\(text)")
            return 0
        }
        claim(again.text == text, "a file changes when written and read")
    } catch {
        let lineCount = bytes.count { $0 == UInt8(ascii: "\n") } + 1
        claim((1...lineCount).contains(error.line), "the error's line is not in the file")
        claim(!error.reason.isEmpty && !error.accepted.isEmpty, "an error without a remedy")
    }
    return 0
}
