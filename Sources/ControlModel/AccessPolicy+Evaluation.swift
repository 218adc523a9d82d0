/// What the rules say.
extension AccessPolicy {
    /// Whether a rule lets a connection through.
    ///
    /// - Parameter groups: Those that the node which opens the connection is in; `others`: those
    ///   of the node that it is opened to, and services.
    /// - Parameter transport: `tcp`, `udp` or `icmp`; others match rules for `*` alone.
    /// - Parameter port: Of the destination; `nil` where the transport has none.
    public func allows(
        from groups: Set<String>, to others: Set<String>, transport: String, port: UInt16?
    ) -> Bool {
        rules.contains { rule in
            rule.concerns(groups, others, transport)
                && (rule.ports.isEmpty
                    || port.map { port in rule.ranges.contains { $0.contains(port) } } ?? false)
        }
    }

    /// One text for each test that the rules contradict.
    public func testFailures() -> [String] {
        tests.enumerated().compactMap { index, test in
            guard !isMet(test) else { return nil }
            let port = test.port.map { " port \($0)" } ?? ""
            let fault = test.allowed
                ? "is denied, should be allowed" : "is allowed, should be denied"
            return "test \(index + 1): \(test.from) to \(test.to), \(test.transport)\(port) "
                + fault
        }
    }

    /// Where a test names no port, or any transport, all of them must be as it says: every one is
    /// allowed, or none is.
    private func isMet(_ test: Test) -> Bool {
        let transports = test.transport == Rule.anything
            ? ["tcp", "udp", "icmp"] : [test.transport]
        return transports.allSatisfy { transport in
            let matching = rules.filter { $0.concerns([test.from], [test.to], transport) }
            guard let port = test.port else {
                guard test.allowed else { return matching.isEmpty }
                return matching.contains { $0.ports.isEmpty }
                    || PortRanges.coverAll(matching.flatMap(\.ranges))
            }
            let isAllowed = matching.contains { rule in
                rule.ports.isEmpty || rule.ranges.contains { $0.contains(port) }
            }
            return isAllowed == test.allowed
        }
    }
}

extension AccessPolicy.Rule {
    public static let anything = "*"

    fileprivate func concerns(
        _ groups: Set<String>, _ others: Set<String>, _ transport: String
    ) -> Bool {
        Self.includes(from, groups) && Self.includes(to, others)
            && (self.transport == Self.anything || self.transport == transport)
    }

    /// The ports that the rule names; texts that name none are passed over.
    public var ranges: [ClosedRange<UInt16>] { ports.compactMap(PortRanges.range) }

    private static func includes(_ names: [String], _ groups: Set<String>) -> Bool {
        names.contains { $0 == anything || groups.contains($0) }
    }
}
