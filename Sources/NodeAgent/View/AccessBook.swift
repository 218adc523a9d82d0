import AccessControl
import ControlModel
import Cryptography
import PacketFormats

/// What access rules are made of, kept up to date node by node.
///
/// Pure: says when there are other rules than those that were taken.
struct AccessBook: Sendable {
    private struct Networks: Equatable {
        var members: [AccessRules.Member] = []
        /// Addresses of a gateway itself.
        var gateway: [IPPrefix] = []
    }

    private var peers: [VerifyingKey: Networks] = [:]
    private var own = Networks()
    private var policy: AccessPolicy?
    /// Something differs from what ``takeRules()`` gave.
    private(set) var isChanged = false

    /// - Parameter grant: `nil` for a node that is no peer.
    mutating func note(_ grant: Grant?, of node: VerifyingKey) {
        let new = grant.map(Self.networks)
        guard peers[node] != new else { return }
        peers[node] = new
        noteMembers()
    }

    /// The node itself, which traffic begins and ends at, too.
    mutating func note(own grant: Grant?) {
        let new = grant.map(Self.networks) ?? Networks()
        guard own != new else { return }
        own = new
        noteMembers()
    }

    mutating func note(_ policy: AccessPolicy?) {
        guard self.policy != policy else { return }
        self.policy = policy
        isChanged = true
    }

    /// The rules as they are now; `nil` where everything is allowed.
    mutating func takeRules() -> AccessRules? {
        isChanged = false
        return policy.map { policy in
            AccessRules(
                policy: policy, members: own.members + peers.values.flatMap(\.members),
                gateways: own.gateway + peers.values.flatMap(\.gateway))
        }
    }

    /// What was taken did not come into force.
    mutating func giveBack() { isChanged = true }

    private static func networks(of grant: Grant) -> Networks {
        Networks(
            members: grant.accessMembers,
            gateway: grant.role == .gateway ? grant.addresses.sorted() : [])
    }

    private mutating func noteMembers() {
        if policy != nil { isChanged = true }
    }
}
