import PacketFormats

extension AccessPolicy {
    /// What is wrong with the policy itself, one text for each fault; empty where nothing is.
    ///
    /// - Parameter groups: Those that the tenant has.
    public func faults(groups: Set<String>) -> [String] {
        guard rules.count <= PolicyLimits.rulesMax, tests.count <= PolicyLimits.testsMax else {
            return [
                "at most \(PolicyLimits.rulesMax) rules and \(PolicyLimits.testsMax) tests"
            ]
        }
        let services = services ?? []
        guard services.count <= PolicyLimits.servicesMax else {
            return ["at most \(PolicyLimits.servicesMax) services"]
        }
        var faults = PolicyFaults()
        var targets = groups
        for (index, service) in services.enumerated() {
            faults.checkService(service, targets, "service \(index + 1)")
            targets.insert(service.name)
        }
        for (index, rule) in rules.enumerated() {
            let what = "rule \(index + 1)"
            faults.checkName(rule.name, what)
            faults.checkGroups(rule.from, groups, "\(what), from")
            faults.checkGroups(rule.to, targets, "\(what), to", "group or service")
            faults.checkTransport(rule.transport, rule.ports, what)
        }
        for (index, test) in tests.enumerated() {
            let what = "test \(index + 1)"
            if !groups.contains(test.from) {
                faults.add(what, "there is no group \(Refusal.excerpt(of: test.from))")
            }
            if !targets.contains(test.to) {
                faults.add(what, "there is no group or service \(Refusal.excerpt(of: test.to))")
            }
            faults.checkTransport(test.transport, test.port.map { ["\($0)"] } ?? [], what)
        }
        return faults.texts
    }

    /// The groups that rules and tests name.
    public var groups: Set<String> {
        Set(rules.flatMap { $0.from + $0.to } + tests.flatMap { [$0.from, $0.to] })
            .subtracting([Rule.anything]).subtracting(serviceNames)
    }

    public var serviceNames: Set<String> { Set((services ?? []).map(\.name)) }
}
