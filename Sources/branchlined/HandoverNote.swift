/// What a process that goes on with a tunnel has to know beyond it, a line each: the folder of the
/// agent's membership, and the local QoS policy where that is not in its usual place.
struct HandoverNote: Hashable {
    let agent: String?
    let qos: String?

    init(_ agent: String?, qos: String?) {
        self.agent = agent
        self.qos = qos
    }

    init(text: String) {
        let lines = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
        agent = lines.first.flatMap { $0.isEmpty ? nil : String($0) }
        qos = lines.count > 1 ? String(lines[1]) : nil
    }

    /// One line where there is nothing unusual, which versions without QoS understand as well.
    var text: String { (agent ?? "") + (qos.map { "\n\($0)" } ?? "") }
}
