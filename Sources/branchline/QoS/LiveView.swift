import Glibc

/// What is looked at once, or again and again.
enum LiveView {
    /// Shows what has changed between two looks.
    ///
    /// - Parameters:
    ///   - first: Looks for the first time, a second before anything is shown.
    ///   - next: Looks again, and says what to show of the difference.
    static func run<Look>(
        watches: Bool, json: Bool, first: () throws -> Look,
        next: (Look) throws -> (look: Look, text: String)
    ) throws {
        var look = try first()
        repeat {
            pause()
            let (new, text) = try next(look)
            look = new
            // JSON is for programs: one value after the other. The table overwrites itself.
            try Console.write(watches && !json ? clearScreen + text : text)
        } while watches
    }

    /// A second, between two looks.
    static func pause() { sleep(1) }

    /// Moves the cursor home and clears what follows (ECMA-48).
    static let clearScreen = "\u{1B}[H\u{1B}[2J"
}
