import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

@Suite struct LastEndpointsTests {
    private let plan = Dictionary(
        uniqueKeysWithValues: (0..<3).map { (number: UInt8) in
            (
                Network.node(UInt64(number)),
                TunnelPlan.Peer(
                    publicKey: Network.publicKey(number), endpoint: nil, keepaliveSeconds: 0,
                    prefixes: [], admission: 1)
            )
        })

    private func present(_ number: UInt8, _ endpoint: String?) -> PeerStatus {
        PeerStatus(
            publicKey: Network.publicKey(number), endpoint: endpoint.flatMap { Endpoint($0) })
    }

    @Test func whatIsSavedIsTakenUp() {
        var last = LastEndpoints(StoredMembership.Endpoints())
        #expect(!last.isSaveDue(at: 100))
        last.note(
            [present(0, "192.0.2.1:7"), present(1, nil), present(9, "192.0.2.9:9")], of: plan)
        #expect(last.isSaveDue(at: 100))
        let stored = last.takeUnsaved(of: plan, at: 100)
        #expect(stored?.endpoints == [Network.node(0).base64URL: "192.0.2.1:7"])
        let restored = LastEndpoints(stored ?? StoredMembership.Endpoints())
        #expect(restored[Network.node(0)] == Endpoint("192.0.2.1:7"))
        #expect(restored[Network.node(1)] == nil)
    }

    @Test func onlyChangesAreSavedAndNotTooOften() {
        var last = LastEndpoints(StoredMembership.Endpoints())
        last.note([present(0, "192.0.2.1:7")], of: plan)
        _ = last.takeUnsaved(of: plan, at: 100)
        last.note([present(0, "192.0.2.1:7")], of: plan)
        #expect(!last.isSaveDue(at: 1_000) && last.takeUnsaved(of: plan, at: 1_000) == nil)
        last.note([present(0, "[2001:db8::1]:7")], of: plan)
        #expect(!last.isSaveDue(at: 129) && last.isSaveDue(at: 130))
        #expect(last.takeUnsaved(of: plan, at: 101) != nil, "at the end it may be at once")
    }

    @Test func peerThatIsGoneKeepsItsPlaceButNotOnDisk() {
        var last = LastEndpoints(StoredMembership.Endpoints())
        last.note([present(0, "192.0.2.1:7"), present(1, "192.0.2.2:7")], of: plan)
        let left = plan.filter { $0.key != Network.node(0) }
        last.note([present(1, "192.0.2.2:8")], of: left)
        #expect(last[Network.node(0)] == Endpoint("192.0.2.1:7"))
        #expect(
            last.takeUnsaved(of: left, at: 1)?.endpoints
                == [Network.node(1).base64URL: "192.0.2.2:8"])
    }

    @Test func damageIsLeftOut() {
        var stored = StoredMembership.Endpoints()
        stored.endpoints = [
            "x": "192.0.2.1:7", Network.node(0).base64URL: "hq.example:7",
            Network.node(1).base64URL: "192.0.2.1:0", Network.node(2).base64URL: "192.0.2.3:1",
        ]
        let last = LastEndpoints(stored)
        #expect(last[Network.node(0)] == nil && last[Network.node(1)] == nil)
        #expect(last[Network.node(2)] == Endpoint("192.0.2.3:1"))
    }
}
