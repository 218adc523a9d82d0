/// Why no load can be made, in words that say what to do.
public struct LoadError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}
