import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

@Suite struct TunnelPlanTests {
    private func peer(
        _ number: UInt8, prefixes: Set<String> = [], admission: Int = 1, endpoint: String? = nil,
        profile: TunnelProfile = .wireguard
    ) -> TunnelPlan.Peer {
        TunnelPlan.Peer(
            publicKey: Network.publicKey(number), endpoint: endpoint.flatMap { Endpoint($0) },
            keepaliveSeconds: 0, profile: profile,
            prefixes: Set(prefixes.compactMap { IPPrefix($0) }), admission: admission)
    }

    private func plan(_ count: UInt8) -> TunnelPlan {
        var plan = TunnelPlan()
        var wanted: [VerifyingKey: TunnelPlan.Peer?] = [:]
        for number in 0..<count {
            wanted[Network.node(UInt64(number))] = peer(number, prefixes: ["10.0.0.\(number)/32"])
        }
        _ = plan.step(to: wanted)
        return plan
    }

    @Test func oneChangeIsOnePeersSettings() throws {
        var plan = plan(100)
        let step = plan.step(to: [
            Network.node(7): peer(7, prefixes: ["10.0.0.7/32", "10.7.0.0/16"]),
            Network.node(8): peer(8, prefixes: ["10.0.0.8/32"]),
        ])
        #expect(step.settings.count == 1)
        let settings = try #require(step.settings.first)
        #expect(settings.publicKey == Network.publicKey(7))
        #expect(settings.updateOnly && !settings.replaceAllowedIPs && settings.endpoint == nil)
        let added = try #require(IPPrefix("10.7.0.0/16"))
        #expect(settings.allowedIPs == [.add(added)])
        #expect(step.newPrefixes == [added])
        #expect(step.lostPrefixes.isEmpty)
        let same = plan.applied
        let nothing = plan.step(to: [Network.node(7): same[Network.node(7)]])
        #expect(nothing.isEmpty)
    }

    @Test func profileIsToldOnceAndKeptInMind() throws {
        var plan = TunnelPlan()
        let node = Network.node(1)
        let strong = peer(1, prefixes: ["10.0.0.1/32"], profile: .branchlineAES)
        #expect(plan.step(to: [node: strong]).settings.map(\.profile) == [.branchlineAES])
        #expect(plan.step(to: [node: strong]).isEmpty)
        let other = peer(1, prefixes: ["10.0.0.1/32"], profile: .branchlineChaCha)
        let change = try #require(plan.step(to: [node: other]).settings.first)
        #expect(change.profile == .branchlineChaCha && change.updateOnly)
        #expect(change.allowedIPs.isEmpty)
        // What the tunnel has is what counts: of an earlier agent, and after a refusal.
        let prefixes = [try #require(IPPrefix("10.0.0.1/32"))]
        let present = PeerStatus(publicKey: Network.publicKey(1), allowedIPs: prefixes)
        _ = plan.recover(from: [present])
        #expect(plan.step(to: [node: other]).settings.map(\.profile) == [.branchlineChaCha])
        var inherited = TunnelPlan()
        inherited.inherit(present, as: other, of: node)
        #expect(inherited.step(to: [node: other]).settings.map(\.profile) == [.branchlineChaCha])
    }

    @Test func newKeySucceedsTheOldOne() throws {
        var plan = plan(3)
        let step = plan.step(to: [Network.node(1): peer(77, prefixes: ["10.0.0.1/32"])])
        let settings = try #require(step.settings.first)
        #expect(settings.publicKey == Network.publicKey(1))
        #expect(settings.successorKey == Network.publicKey(77))
        #expect(settings.allowedIPs.isEmpty && !settings.remove)
        #expect(step.newPrefixes.isEmpty && step.lostPrefixes.isEmpty)
    }

    @Test func peerThatWasAwayLosesItsSessions() throws {
        var plan = plan(3)
        let step = plan.step(to: [
            Network.node(1): peer(1, prefixes: ["10.0.0.1/32"], admission: 2)
        ])
        #expect(step.settings.map(\.remove) == [true, false])
        #expect(step.settings.map(\.publicKey) == [Network.publicKey(1), Network.publicKey(1)])
        #expect(step.newPrefixes.isEmpty && step.lostPrefixes.isEmpty, "its routes stay")
    }

    @Test func newPeerIsLookedForWhereItWasLast() throws {
        let last = try #require(Endpoint("192.0.2.9:1000"))
        let said = try #require(Endpoint("192.0.2.1:51820"))
        var plan = TunnelPlan()
        let wanted = [
            Network.node(1): peer(1), Network.node(2): peer(2, endpoint: said.description),
        ].mapValues { Optional($0) }
        var step = plan.step(to: wanted) { _ in last }
        let endpoints = Dictionary(
            uniqueKeysWithValues: step.settings.map { ($0.publicKey, $0.endpoint) })
        #expect(endpoints == [Network.publicKey(1): last, Network.publicKey(2): said])
        #expect(step.greeted == [Network.node(1)])
        step = plan.step(to: wanted) { _ in last }
        #expect(step.isEmpty && step.greeted.isEmpty, "the tunnel knows better by now")
        step = plan.step(to: [Network.node(1): peer(1, prefixes: ["10.0.0.1/32"])]) { _ in last }
        #expect(step.settings.map(\.endpoint) == [nil] && step.greeted.isEmpty)
    }

    @Test func removalsComeFirst() throws {
        var plan = plan(2)
        let gone: TunnelPlan.Peer? = nil
        let step = plan.step(to: [
            Network.node(1): gone, Network.node(9): peer(1, prefixes: ["10.0.0.1/32"]),
        ])
        #expect(step.settings.map(\.remove) == [true, false])
        #expect(step.lostPrefixes.isEmpty && step.newPrefixes.isEmpty)
        #expect(plan.applied.count == 2)
    }

    @Test func planRecoversFromWhatTheTunnelHas() throws {
        var plan = plan(3)
        let present = [
            PeerStatus(
                publicKey: Network.publicKey(0),
                allowedIPs: [try #require(IPPrefix("10.0.0.0/32"))]),
            PeerStatus(publicKey: Network.publicKey(55)),
        ]
        let wanted = plan.applied.mapValues { Optional($0) }
        let strangers = plan.recover(from: present)
        #expect(strangers.map(\.publicKey) == [Network.publicKey(55)])
        #expect(strangers.map(\.remove) == [true])
        let step = plan.step(to: wanted)
        #expect(Set(step.settings.map(\.publicKey)) == [Network.publicKey(1), Network.publicKey(2)])
    }

    @Test func peersOfAnEarlierAgentAreLeftAlone() throws {
        let roamed = try #require(Endpoint("192.0.2.9:1000"))
        var plan = TunnelPlan()
        let wanted = [
            Network.node(1): peer(1, prefixes: ["10.0.0.1/32"]),
            Network.node(2): peer(2, prefixes: ["10.0.0.2/32", "10.2.0.0/16"]),
            Network.node(3): peer(3, prefixes: ["10.0.0.3/32"]),
        ]
        for number: UInt8 in 1...2 {
            let present = PeerStatus(
                publicKey: Network.publicKey(number), endpoint: roamed,
                allowedIPs: [try #require(IPPrefix("10.0.0.\(number)/32"))])
            let node = Network.node(UInt64(number))
            plan.inherit(present, as: try #require(wanted[node]), of: node)
        }
        let other = PeerStatus(publicKey: Network.publicKey(9))
        plan.inherit(other, as: peer(3), of: Network.node(3))
        let step = plan.step(to: wanted.mapValues { Optional($0) }) { _ in roamed }
        let added = try #require(IPPrefix("10.2.0.0/16"))
        #expect(step.settings.map(\.publicKey) == [Network.publicKey(2), Network.publicKey(3)])
        #expect(step.settings.map(\.updateOnly) == [true, false])
        #expect(step.settings.first?.endpoint == nil)
        #expect(step.settings.first?.allowedIPs == [.add(added)])
        #expect(step.greeted == [Network.node(3)], "the others are spoken with already")
        #expect(!step.newPrefixes.contains(try #require(IPPrefix("10.0.0.1/32"))))
    }
}
