import NodeAgent

extension AgentStatus {
    /// What `branchline status` says of a joined interface.
    ///
    /// - Parameter now: In Unix seconds.
    func facts(now: UInt64) -> [(name: String, value: String)] {
        var facts: [(name: String, value: String)] = [
            ("tenant", tenant),
            ("node", role.map { "\(name), \($0), \(node)" } ?? "\(name), \(node)"),
            ("state", AgentWords.state(self)),
        ]
        if let profile { facts.append(("profile", AgentWords.profile(profile))) }
        if !addresses.isEmpty { facts.append(("addresses", addresses.joined(separator: ", "))) }
        if !routes.isEmpty { facts.append(("own networks", routes.joined(separator: ", "))) }
        facts.append(("coordinator", connection(now: now)))
        facts += revocationFacts(now: now)
        facts.append(("peers", "\(acceptedPeers) accepted"))
        facts += (gatewayHealth ?? []).map { ("gateway", "\($0.name), \($0.health)") }
        facts += refusalFacts(now: now)
        if let grantExpiresAt, state != Standing.revoked.rawValue {
            facts.append(("grant", Self.until(grantExpiresAt, now: now)))
        }
        facts.append(("key", keyAge(now: now)))
        facts += notes.map { ("note", $0) }
        return facts
    }

    private func connection(now: UInt64) -> String {
        if let since = connectedSince {
            return "\(coordinator), connected since \(Self.ago(since, now))"
        }
        guard let connectionFault else { return "\(coordinator), connecting" }
        return "\(coordinator), not connected: \(connectionFault)"
    }

    /// The newest cases in words, then all in numbers.
    private func refusalFacts(now: UInt64) -> [(name: String, value: String)] {
        guard !refusals.isEmpty else { return [] }
        let newest = newestRefusals.suffix(Self.refusalsShownMax).reversed()
        let counts = refusals.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return newest.map { ("refused", AgentWords.refusal($0, Self.ago($0.at, now))) }
            + [("refused in all", counts)]
    }

    private func revocationFacts(now: UInt64) -> [(name: String, value: String)] {
        var facts: [(name: String, value: String)] = revocationLists.map { list in
            (
                "revocations",
                "\(list.realm): list \(list.number) of \(Self.ago(list.issuedAt, now)), "
                    + (list.entryCount == 1 ? "1 entry" : "\(list.entryCount) entries")
            )
        }
        if isServedStaleRevocations {
            facts.append(
                (
                    "warning",
                    "stale revocations: the coordinator serves an older list than this node has, "
                        + "or none; ask the security admin whether it was taken over"
                ))
        }
        return facts
    }

    private func keyAge(now: UInt64) -> String {
        let every = rotateEverySeconds.map {
            "changed every \(Text.shortDuration(seconds: UInt64(clamping: $0)))"
        }
        let age = "from \(Self.ago(keySince, now)), \(every ?? "never changed by itself")"
        return isRotating ? age + ", a change is under way" : age
    }

    private static func until(_ time: Int64, now: UInt64) -> String {
        let now = Int64(clamping: now)
        let seconds = UInt64(clamping: abs(time - now))
        let span = Text.shortDuration(seconds: seconds)
        return time > now ? "counts for \(span) more" : "expired \(span) ago"
    }

    private static let refusalsShownMax = 5

    private static func ago(_ time: Int64, _ now: UInt64) -> String {
        Text.shortAgo(seconds: UInt64(clamping: time), now: now)
    }
}
