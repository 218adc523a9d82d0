import ControlModel
import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

/// Gateways of one tenant that carry the same networks, in the view and in the plan.
@Suite struct SharedNetworkTests {
    private let network = Network()
    private let now = Network.now
    private let shared = IPPrefix("10.0.0.0/24")!

    private func nodes(_ view: NetworkView) -> Set<VerifyingKey> { Set(view.peers.map(\.node)) }

    @Test func gatewaysShareRoutes() throws {
        let view = try network.view(
            role: .branch,
            [
                try network.peer(1, role: .gateway) { $0.routes = [shared] },
                try network.peer(2, role: .gateway) { $0.routes = [shared] },
            ])
        #expect(nodes(view) == [Network.node(1), Network.node(2)])
        #expect(view.refusals.total.isEmpty)
        for peer in view.peers { #expect(peer.sharedPrefixes == [shared]) }
    }

    @Test func branchesShareNothing() throws {
        let view = try network.view([
            try network.peer(1) { $0.routes = [shared] },
            try network.peer(2) { $0.routes = [shared] },
        ])
        #expect(nodes(view) == [Network.node(1)])
        #expect(view.refusals.total == ["addressOverlap": 1])
        for peer in view.peers { #expect(peer.sharedPrefixes.isEmpty) }
    }

    @Test func gatewaysShareNoAddresses() throws {
        let address = try #require(IPPrefix("10.64.0.1/32"))
        let view = try network.view(
            role: .branch,
            [
                try network.peer(1, role: .gateway),
                try network.peer(2, role: .gateway) { $0.addresses = [address] },
                try network.peer(3, role: .gateway) { $0.routes = [address] },
            ])
        #expect(nodes(view) == [Network.node(1)])
        #expect(view.refusals.total == ["addressOverlap": 2])
    }

    @Test func whoTakesPartOfASharedNetworkAloneIsRefused() throws {
        let part = try #require(IPPrefix("10.0.0.128/25"))
        let view = try network.view(
            role: .branch,
            [
                try network.peer(1, role: .gateway) { $0.routes = [shared] },
                try network.peer(2, role: .gateway) { $0.routes = [part] },
            ])
        #expect(nodes(view) == [Network.node(1)])
    }

    @Test func theOtherStaysWhenOneGoes() throws {
        var view = try network.view(
            role: .branch,
            [
                try network.peer(1, role: .gateway) { $0.routes = [shared] },
                try network.peer(2, role: .gateway) { $0.routes = [shared] },
            ])
        view.apply(.init(peerRemoved: Network.node(1).base64URL), number: 6, at: now)
        #expect(nodes(view) == [Network.node(2)])
        view.apply(
            .init(peer: try network.peer(1, role: .gateway) { $0.routes = [shared] }), number: 7,
            at: now)
        #expect(nodes(view) == [Network.node(1), Network.node(2)])
    }

    @Test func preferenceIsAChangeAndIsKept() throws {
        var view = try network.view(role: .branch, [try network.peer(1, role: .gateway)])
        _ = view.takeChanged()
        view.apply(
            .init(peer: try network.peer(1, role: .gateway, priority: 7)), number: 6, at: now)
        let changed = view.takeChanged()
        #expect(changed == [Network.node(1)])
        #expect(view.peer(Network.node(1))?.preference.priority == 7)
        #expect(view.toldPeers.first?.priority == 7)
        view.apply(
            .init(peer: try network.peer(1, role: .gateway, priority: 7)), number: 7, at: now)
        let same = view.takeChanged()
        #expect(same.isEmpty)
    }

    // MARK: The plan

    private func peer(
        _ number: UInt8, _ prefixes: Set<IPPrefix>, shared: Set<IPPrefix> = []
    ) -> TunnelPlan.Peer {
        TunnelPlan.Peer(
            publicKey: Network.publicKey(number), endpoint: nil, keepaliveSeconds: 0,
            prefixes: prefixes, sharedPrefixes: shared, admission: 1)
    }

    @Test func aRouteStaysWhileAnybodyHasIt() throws {
        var plan = TunnelPlan()
        let (one, two) = (Network.node(1), Network.node(2))
        let first = plan.step(to: [one: peer(1, [shared], shared: [shared])])
        #expect(first.newPrefixes == [shared])
        #expect(first.settings.first?.allowedIPs == [.share(shared)])
        let second = plan.step(to: [two: peer(2, [shared], shared: [shared])])
        #expect(second.newPrefixes.isEmpty && second.lostPrefixes.isEmpty)
        #expect(second.settings.first?.allowedIPs == [.share(shared)])
        let third = plan.step(to: [one: TunnelPlan.Peer?.none])
        #expect(third.lostPrefixes.isEmpty && third.newPrefixes.isEmpty)
        let fourth = plan.step(to: [two: peer(2, [])])
        #expect(fourth.lostPrefixes == [shared])
        #expect(fourth.settings.first?.allowedIPs == [.remove(shared)])
        let fifth = plan.step(to: [
            one: peer(1, [shared], shared: [shared]), two: peer(2, [shared], shared: [shared]),
        ])
        #expect(fifth.newPrefixes == [shared])
        let last = plan.step(to: [one: TunnelPlan.Peer?.none, two: TunnelPlan.Peer?.none])
        #expect(last.lostPrefixes == [shared])
    }

    @Test func becomingSharedMovesNothing() {
        var plan = TunnelPlan()
        _ = plan.step(to: [Network.node(1): peer(1, [shared])])
        let step = plan.step(to: [Network.node(1): peer(1, [shared], shared: [shared])])
        #expect(step.lostPrefixes.isEmpty && step.newPrefixes.isEmpty)
        #expect(step.settings.first?.allowedIPs == [.share(shared)])
        let back = plan.step(to: [Network.node(1): peer(1, [shared])])
        #expect(back.lostPrefixes.isEmpty && back.newPrefixes.isEmpty)
        #expect(back.settings.first?.allowedIPs == [.add(shared)])
    }

    @Test func recoveryCountsAnew() {
        var plan = TunnelPlan()
        _ = plan.step(to: [
            Network.node(1): peer(1, [shared], shared: [shared]),
            Network.node(2): peer(2, [shared], shared: [shared]),
        ])
        _ = plan.recover(from: [
            PeerStatus(publicKey: Network.publicKey(2), allowedIPs: [shared])
        ])
        let step = plan.step(to: [Network.node(2): TunnelPlan.Peer?.none])
        #expect(step.lostPrefixes == [shared])
    }
}
