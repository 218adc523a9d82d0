extension Unicode.Scalar {
    /// Control characters, and those that turn the direction of what follows: what strangers wrote
    /// goes to logs and terminals without them.
    public var isControl: Bool {
        properties.generalCategory == .control || properties.generalCategory == .format
    }
}
