public import PacketFormats

/// One side of a connection that somebody asks about.
public enum AccessSide: Hashable, Sendable {
    case address(IPAddress)
    /// A node with these groups, whatever its address.
    case groups(Set<String>)
    /// Meaningful as a destination: services open nothing.
    case service(String)
}

extension AccessFilter {
    /// What the compiled rules say of a connection that is opened; makes no state, counts nothing.
    ///
    /// - Parameter port: Of the destination; not looked at where the transport has none.
    public func decide(
        from source: AccessSide, to destination: AccessSide, _ transport: AccessRules.Transport,
        port: UInt16
    ) -> AccessDecision {
        compiled.decide(
            compiled.sourceRules(source), compiled.destinationRules(destination), transport, port)
    }

    /// The name of a rule; `nil` for the default.
    public func name(ofRule rule: Int32) -> String? {
        rules.rules.indices.contains(Int(rule)) ? rules.rules[Int(rule)].name : nil
    }
}
