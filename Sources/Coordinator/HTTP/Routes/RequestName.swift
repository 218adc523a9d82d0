import HTTPTypes
import Hummingbird

/// Names a request in answers and in the log.
enum RequestName {
    /// The client's own name for it where that is safe to write down, otherwise a new one.
    static func of(_ request: Request) -> String {
        if let field, let given = request.headers[field],
            (1...64).contains(given.utf8.count), given.utf8.allSatisfy(safe.contains)
        {
            return given
        }
        let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    static let field = HTTPField.Name("X-Request-ID")

    private static let safe = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
}
