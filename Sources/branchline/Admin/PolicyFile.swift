import ControlModel

/// A policy as people write it: rules for icmp may leave `ports` out.
struct PolicyFile: Codable {
    struct Rule: Codable {
        var name: String
        var from: [String]
        var to: [String]
        var transport: String
        var ports: [String]?
    }

    var rules: [Rule]
    var tests: [AccessPolicy.Test]
    var services: [AccessPolicy.Service]?

    /// - Parameter path: `-` for standard input.
    static func read(_ path: String) throws -> AccessPolicy {
        let file: PolicyFile = try InputFile.json(path, "a policy")
        let rules = try file.rules.enumerated().map { index, rule in
            // No ports mean every port, which nobody should say by leaving them out.
            guard let ports = rule.ports ?? (rule.transport == "icmp" ? [] : nil) else {
                throw Failure.badInput(
                    "\(path) is not a policy: rules[\(index)].ports is missing; give [] for "
                        + "every port")
            }
            return AccessPolicy.Rule(
                name: rule.name, from: rule.from, to: rule.to, transport: rule.transport,
                ports: ports)
        }
        return AccessPolicy(rules: rules, tests: file.tests, services: file.services)
    }
}
