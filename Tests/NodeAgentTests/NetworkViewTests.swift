import ControlModel
import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

@Suite struct NetworkViewTests {
    private let network = Network()
    private let now = Network.now

    private func nodes(_ view: NetworkView) -> Set<VerifyingKey> { Set(view.peers.map(\.node)) }

    private func nodes(_ numbers: UInt64...) -> Set<VerifyingKey> {
        Set(numbers.map(Network.node))
    }

    // MARK: Whole states

    @Test func verifiedPeersAreTakenAndNamedOnce() throws {
        var view = try network.view([try network.peer(1), try network.peer(2)])
        #expect(view.standing == .active)
        #expect(view.number == 5)
        #expect(nodes(view) == nodes(1, 2))
        let first = view.takeChanged(), second = view.takeChanged()
        #expect(first == nodes(1, 2))
        #expect(second.isEmpty)
    }

    @Test func stateReplacesWhatWasThere() throws {
        var view = try network.view([try network.peer(1), try network.peer(2)])
        _ = view.takeChanged()
        view.replace(
            with: try network.state([try network.peer(2), try network.peer(3)]), number: 9,
            at: now)
        #expect(nodes(view) == nodes(2, 3))
        let changed = view.takeChanged()
        #expect(changed == nodes(1, 3), "peer 2 is as it was")
    }

    @Test func branchesTakeGatewaysOnly() throws {
        let view = try network.view(
            role: .branch, [try network.peer(1), try network.peer(2, role: .gateway)])
        #expect(nodes(view) == nodes(2))
        #expect(view.refusals.total == ["notAPeer": 1])
    }

    @Test func invalidEntriesDisturbNoOthers() throws {
        var forged = try network.peer(3)
        forged.chain = String(forged.chain.dropLast(20)) + "AAAAAAAAAAAAAAAAAAAA"
        var stranger = try network.peer(4)
        stranger.chain = StatementChain([
            try network.adminLink(by: Network.key(66)),
            try Statement.grant(try network.grant(4)).signed(by: network.admin),
        ]).text
        var renamed = try network.peer(6)
        renamed.node = Network.node(7).base64URL
        let view = try network.view([
            forged, stranger, try network.peer(1),
            CoordinatorAPI.Peer(node: "?", name: "", chain: "~~~~~~~", endpoint: nil),
            try network.peer(5) { $0.tenant = Name("beta").unsafelyUnwrapped }, renamed,
            try network.peer(0), try network.peer(2),
        ])
        #expect(nodes(view) == nodes(1, 2))
        #expect(
            view.refusals.total == [
                "signatureInvalid": 1, "unknownIssuer": 1, "chainTooLong": 1, "mixedTenant": 1,
                "nodeMismatch": 1, "ownKey": 1,
            ])
        #expect(view.refusals.newest.count == 6)
    }

    @Test func grantsOfBothDecideWhatIsSpoken() throws {
        var view = try network.view([
            try network.peer(1), try network.peer(2) { $0.profile = .branchlineChaCha },
        ])
        func profiles() -> [VerifyingKey: TunnelProfile] {
            Dictionary(uniqueKeysWithValues: view.peers.map { ($0.node, view.profile(of: $0)) })
        }
        #expect(
            profiles() == [Network.node(1): .wireguard, Network.node(2): .branchlineChaCha])
        _ = view.takeChanged()
        var own = try network.grant(0, role: .gateway)
        own.profile = .branchlineAES
        own.serial += 1
        view.apply(.init(own: try network.chain(own).text), number: 6, at: now)
        #expect(
            profiles() == [Network.node(1): .branchlineAES, Network.node(2): .branchlineChaCha])
        let changed = view.takeChanged()
        #expect(changed == nodes(1, 2), "each tunnel is looked at again")
    }

    @Test func forgedChainOfItsOwnChangesNothing() throws {
        var view = try network.view([try network.peer(1)])
        var other = try network.grant(0, role: .gateway)
        other.publicKey = Network.publicKey(99)
        other.serial += 5
        for text in ["", "x", try network.chain(other).text, try network.peer(3).chain] {
            view.apply(.init(own: text), number: 6, at: now)
        }
        #expect(view.standing == .active)
        #expect(nodes(view) == nodes(1))
        #expect(view.refusals.total["keyNotAllowed"] == 2)
    }

    // MARK: Addresses

    @Test func newcomerWithTakenAddressesIsRefusedUntilTheOlderGoes() throws {
        let prefix = try #require(IPPrefix("10.0.0.0/8"))
        var view = try network.view([try network.peer(1)])
        view.apply(
            .init(peer: try network.peer(2) { $0.routes = [prefix] }), number: 6, at: now)
        #expect(nodes(view) == nodes(1))
        #expect(view.refusals.total == ["addressOverlap": 1])
        #expect(view.toldPeers.count == 2, "it is kept for later")
        view.apply(
            .init(peerRemoved: Network.node(1).base64URL), number: 7, at: now)
        #expect(nodes(view) == nodes(2))
    }

    @Test func addressesOfTheNodeItselfAreNobodyElses() throws {
        let own = try network.grant(0).addresses
        let view = try network.view([try network.peer(1) { $0.addresses = own }])
        #expect(nodes(view).isEmpty)
        #expect(view.refusals.total == ["addressOverlap": 1])
    }

    @Test func networksOfTheNodeItselfAreNobodyElses() throws {
        let routes = try #require(IPPrefix("10.100.0.0/24"))
        let inside = try #require(IPPrefix("10.100.0.10/32"))
        let around = try #require(IPPrefix("10.0.0.0/8"))
        var view = try network.view([])
        view.take(own: try network.chain(try network.grant(0, role: .gateway) {
            $0.routes = [routes]
            $0.serial += 1
        }).text, at: now)
        view.apply(
            .init(peer: try network.peer(1) { $0.addresses = [inside] }), number: 6, at: now)
        #expect(nodes(view).isEmpty)
        view.apply(.init(peer: try network.peer(2) { $0.routes = [around] }), number: 7, at: now)
        #expect(nodes(view) == nodes(2), "the node's own, narrower network goes before it")
    }

    @Test func endpointsInsideTheTunnelAreKnown() throws {
        let all = try #require(IPPrefix("0.0.0.0/0"))
        let view = try network.view([try network.peer(1) { $0.routes = [all] }])
        #expect(view.carries(try #require(IPAddress("10.64.0.1"))))
        #expect(view.carries(try #require(IPAddress("10.64.0.0"))), "the node's own address")
        #expect(!view.carries(try #require(IPAddress("192.0.2.1"))), "default routes do not count")
    }

    @Test func unsignedTextsAreBoundedAndPlain() throws {
        var peer = try network.peer(1)
        peer.name = "a\u{1B}[2J\n" + String(repeating: "b", count: 1_000_000)
        peer.endpoint = String(repeating: "c", count: 1_000_000)
        let view = try network.view([peer])
        let taken = try #require(view.peers.first)
        #expect(taken.name.hasPrefix("a[2Jb") && taken.name.utf8.count <= 63)
        #expect(taken.endpoint == nil)
    }

    @Test(arguments: [Int64.max, TrustLimits.integerMax + 1, -1])
    func numbersThatNobodyCountsToAreNotKept(number: Int64) throws {
        var view = try network.view([])
        view.noteNumber(number)
        #expect(view.number == 5)
        view.apply(.init(peer: try network.peer(1)), number: number, at: now)
        #expect(view.number == 5 && nodes(view) == nodes(1))
        view.replace(with: try network.state([]), number: number, at: now)
        #expect((0...TrustLimits.integerMax).contains(view.number))
    }

    @Test func ofTwoNewcomersTheOlderGrantStays() throws {
        let same = try #require(IPPrefix("10.64.1.1/32"))
        let view = try network.view([
            try network.peer(9) { $0.addresses = [same] },
            try network.peer(3) { $0.addresses = [same] },
        ])
        #expect(nodes(view) == nodes(3))
    }

    // MARK: Revocations

    @Test func revokedPeerGoesAtOnceThoughItsRemovalIsWithheld() throws {
        var view = try network.view([try network.peer(1), try network.peer(2)])
        _ = view.takeChanged()
        view.apply(
            .init(revocations: try network.revocations(10, [Network.revoking(1)])), number: 6,
            at: now)
        #expect(nodes(view) == nodes(2))
        let changed = view.takeChanged()
        #expect(changed == nodes(1))
        view.apply(.init(peer: try network.peer(1)), number: 7, at: now)
        #expect(nodes(view) == nodes(2))
        #expect(view.refusals.total["nodeRevoked"] == 2)
    }

    @Test func peerThatComesBackBeginsAnew() throws {
        var view = try network.view([try network.peer(1)])
        let before = try #require(view.peer(Network.node(1)))
        let serial = before.verified.grant.serial
        view.apply(
            .init(
                revocations: try network.revocations(
                    10, [Network.revoking(1, serial: serial)])), number: 6, at: now)
        view.apply(
            .init(peer: try network.peer(1) { $0.serial = serial + 50 }), number: 7, at: now)
        let after = try #require(view.peer(Network.node(1)))
        #expect(after.admission != before.admission)
    }

    @Test func olderListIsRefusedAndShown() throws {
        var view = try network.view([try network.peer(1)])
        let newer = try network.revocations(10, [Network.revoking(1)])
        view.apply(.init(revocations: newer), number: 6, at: now)
        #expect(!view.isServedStaleRevocations)
        let older = try network.revocations(9)
        view.replace(
            with: try network.state([try network.peer(1)], tenantRevocations: older), number: 7,
            at: now)
        #expect(view.isServedStaleRevocations)
        #expect(nodes(view).isEmpty)
        view.replace(with: try network.state([]), number: 8, at: now)
        #expect(view.isServedStaleRevocations, "left out")
        view.replace(
            with: try network.state([], tenantRevocations: newer), number: 9, at: now)
        #expect(!view.isServedStaleRevocations)
    }

    @Test func listThatShrinksIsRefused() throws {
        var view = try network.view([try network.peer(1)])
        view.apply(
            .init(revocations: try network.revocations(10, [Network.revoking(1)])), number: 6,
            at: now)
        view.apply(.init(revocations: try network.revocations(11)), number: 7, at: now)
        #expect(view.refusals.total["revocationListShrunk"] == 1)
        view.apply(.init(peer: try network.peer(1)), number: 8, at: now)
        #expect(nodes(view).isEmpty)
    }

    // MARK: The node itself

    @Test func ownRevocationTakesAllPeersAway() throws {
        var view = try network.view([try network.peer(1)])
        let own = try network.grant(0, role: .gateway)
        _ = view.takeChanged()
        view.apply(
            .init(
                revocations: try network.revocations(
                    10, [Network.revoking(0, serial: own.serial)])), number: 6, at: now)
        #expect(view.standing == .suspended)
        #expect(view.peers.isEmpty)
        let changed = view.takeChanged()
        #expect(changed == nodes(1))
        var again = own
        again.serial += 10
        view.apply(.init(own: try network.chain(again).text), number: 7, at: now)
        #expect(view.standing == .active)
        #expect(nodes(view) == nodes(1))
        view.apply(
            .init(
                revocations: try network.revocations(11, [Network.revoking(0)])), number: 8,
            at: now)
        #expect(view.standing == .revoked)
        #expect(view.peers.isEmpty)
    }

    @Test func olderGrantOfItsOwnIsSuperseded() throws {
        var view = try network.view()
        let old = view.ownChain
        var new = try network.grant(0, role: .gateway)
        new.serial += 10
        view.apply(.init(own: try network.chain(new).text), number: 6, at: now)
        let taken = view.ownChain
        view.apply(.init(own: old), number: 7, at: now)
        #expect(view.ownChain == taken && taken != old)
        #expect(view.refusals.total == ["superseded": 1])
    }

    @Test func nodeOfARevokedAdminIsRevoked() throws {
        var view = try network.view([try network.peer(1)])
        let root = StatementChain([
            try Statement.revocations(
                RevocationList(
                    realm: .organisation, number: 4, issuedAt: now - 1,
                    revocations: [
                        Revocation(
                            .admin(network.admin.verifyingKey), until: now + 400 * Network.day)
                    ])
            ).signed(by: network.root)
        ])
        view.apply(.init(revocations: root.text), number: 6, at: now)
        #expect(view.standing == .revoked)
        #expect(view.acceptedCount == 0)
    }

    // MARK: Time

    @Test func grantThatExpiresIsDroppedAtItsTime() throws {
        let short = try network.peer(1) { $0.validity = Network.validity(-10, 50) }
        var view = try network.view([short, try network.peer(2)])
        let end = now + 50 + TrustLimits.skewSecondsDefault
        #expect(view.nextDeadline == end)
        view.advance(to: end - 1)
        #expect(nodes(view) == nodes(1, 2))
        view.advance(to: end)
        #expect(nodes(view) == nodes(2))
        #expect(view.refusals.total == ["expired": 1])
    }

    @Test func ownGrantThatExpiresTakesAllPeersAway() throws {
        var view = try network.view([try network.peer(1)])
        let end = now + 30 * Network.day + TrustLimits.skewSecondsDefault
        view.advance(to: end)
        #expect(view.standing == .expired)
        #expect(view.peers.isEmpty)
        #expect(view.nextDeadline == end + NetworkView.waitingSeconds)
    }

    @Test func peersOfAClockThatWasBehindAreAskedAgain() throws {
        let early = now - 10_000
        var view = NetworkView(
            node: Network.node(0), tenant: try #require(Name("acme")),
            ownKeys: [Network.publicKey(1)],
            verifier: Verifier(anchors: RootAnchors(root: network.root.verifyingKey)),
            ownChain: try network.chain(network.grant(0, role: .gateway)).text, at: early)
        let kept = StoredMembership.Network(number: 5, peers: [try network.peer(1)])
        view.restore(kept.peers, of: kept, at: early)
        #expect(view.standing == .refused)
        #expect(view.nextDeadline == early + NetworkView.waitingSeconds)
        view.advance(to: now)
        #expect(view.standing == .active)
        #expect(nodes(view) == nodes(1))
    }

    @Test func peerThatCameEarlyIsKeptOnceWhenItCounts() throws {
        var view = try network.view([])
        let later = try network.peer(1) { $0.validity = Network.validity(1_000, Network.day) }
        view.apply(.init(peer: later), number: 6, at: now)
        #expect(nodes(view).isEmpty && view.toldPeers.count == 1)
        view.apply(.init(peer: try network.peer(1)), number: 7, at: now)
        #expect(nodes(view) == nodes(1) && view.toldPeers.count == 1)
    }

    // MARK: Rotation and restart

    @Test func rotationIsTakenAndAnOldOneIsNot() throws {
        let grant = try network.grant(1)
        let signer = Network.key(101)
        func rotated(_ turn: Int64, _ key: UInt8) throws -> CoordinatorAPI.Peer {
            let rotation = KeyRotation(
                tenant: grant.tenant, serial: grant.serial, turn: turn,
                publicKey: Network.publicKey(key), validity: Network.validity(0, 1_000))
            let chain = try network.chain(grant).appending(
                try Statement.rotation(rotation).signed(by: signer))
            return .init(
                node: grant.node.base64URL, name: "node-1", chain: chain.text, endpoint: nil)
        }
        var view = try network.view([try network.peer(1)])
        let before = try #require(view.peer(grant.node))
        view.apply(.init(peer: try rotated(7, 50)), number: 6, at: now)
        let after = try #require(view.peer(grant.node))
        #expect(after.verified.publicKey == Network.publicKey(50))
        #expect(after.admission == before.admission, "its sessions live on")
        view.apply(.init(peer: try rotated(6, 51)), number: 7, at: now)
        view.apply(.init(peer: try network.peer(1)), number: 8, at: now)
        #expect(view.peer(grant.node)?.verified.publicKey == Network.publicKey(50))
        #expect(view.refusals.total == ["superseded": 2])
    }

    @Test func restartVerifiesAllOfItAgain() throws {
        var view = try network.view([try network.peer(1), try network.peer(2)])
        view.apply(
            .init(revocations: try network.revocations(10, [Network.revoking(2)])), number: 6,
            at: now)
        let trust = StoredMembership.Trust(view.verifier, ownChain: view.ownChain, keySince: 0)
        var kept = StoredMembership.Network(view)
        kept.peers.append(try network.peer(2))
        var again = NetworkView(
            node: view.node, tenant: view.tenant, ownKeys: view.ownKeys,
            verifier: try #require(trust.verifier), ownChain: trust.ownChain, at: now + 1)
        again.restore(kept.peers, of: kept, at: now + 1)
        #expect(again.number == 6)
        #expect(nodes(again) == nodes(1))
        #expect(again.refusals.total == ["nodeRevoked": 1])
    }

    @Test func theNodeIsCalledWhatTheCoordinatorSaid() throws {
        var view = try network.view([])
        #expect(view.name == nil, "an older coordinator does not say")
        var state = try network.state([])
        state.name = "plant-2"
        view.replace(with: state, number: 6, at: now)
        #expect(view.name == "plant-2")
        view.apply(.init(name: "plant-seven"), number: 7, at: now)
        view.apply(.init(name: "no name at all"), number: 8, at: now)
        view.apply(.init(qos: QoSPolicy()), number: 9, at: now)
        #expect(view.name == "plant-seven" && view.qos == QoSPolicy())
        let kept = StoredMembership.Network(view)
        var again = try network.view([])
        again.restore([], of: kept, at: now)
        #expect(again.name == "plant-seven" && again.qos == QoSPolicy())
    }

    @Test func whatOlderVersionsKeptIsTakenUp() throws {
        let text = """
            {"version":1,"number":5,"peers":[],"qos":{"maximum_rate":5,"services":[{"name":"a",\
            "destination":"10.0.0.0/8","transport":"icmp","ports":[],"traffic_class":"token"}],\
            "weights":{"background":4,"bulk":2}}}
            """
        let kept: StoredMembership.Network = try APIJSON.decode(from: text.utf8)
        #expect(kept.name == nil && kept.qos?.maximumRate == 5)
        let settings = QoSSettings(policy: kept.qos, local: nil)
        #expect(settings.weights == [.bulk: 2] && settings.services.isEmpty)
    }

    @Test func rootIsFollowed() throws {
        let next = Network.key(3)
        var view = try network.view([try network.peer(1)])
        let rollover = RootRollover(
            nextRoot: next.verifyingKey, retiresAt: now + Network.day,
            validity: Network.validity(-10, 100 * Network.day))
        view.apply(
            .init(rollover: try Statement.rollover(rollover).signed(by: network.root)),
            number: 6, at: now)
        let revision = view.trustRevision
        #expect(revision > 0)
        let end = now + Network.day + TrustLimits.skewSecondsDefault
        #expect(view.nextDeadline == end, "when the old root retires")
        view.advance(to: end)
        #expect(view.standing == .expired)
        let chain = StatementChain([
            try network.adminLink(by: next),
            try Statement.grant(try network.grant(0, role: .gateway)).signed(by: network.admin),
        ])
        view.apply(.init(own: chain.text), number: 7, at: end)
        #expect(view.standing == .active)
    }
}
