import ControlModel
import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

/// From grants, names and a policy to what the tunnel is told.
@Suite struct QoSBookTests {
    private let network = Network()
    private let lines = """
        "links":{"hq":{"uplink_rate":9000000},"node-1":{"uplink_rate":1000000,\
        "uplink_minimum_rate":400000,"downlink_rate":2000000,"overhead_bytes":22},\
        "node-2":{"downlink_rate":3000000}}
        """

    private func policy(_ text: String) throws -> QoSPolicy {
        try APIJSON.decode(from: "{\(text)}".utf8)
    }

    private func grant(
        _ number: UInt8, role: Role = .branch, ceiling: ClassCeiling = .token
    ) throws -> Grant {
        try network.grant(number, role: role) { $0.ceiling = ceiling }
    }

    private func peer(
        _ number: UInt8, name: String? = nil, ceiling: ClassCeiling = .token, key: UInt8? = nil
    ) -> QoSBook.Peer {
        QoSBook.Peer(
            name: name ?? "node-\(number)", publicKey: Network.publicKey(key ?? number),
            ceiling: ceiling)
    }

    private func gateway(_ text: String) throws -> QoSBook {
        var book = QoSBook()
        book.note(own: try grant(0, role: .gateway), name: "hq")
        for number in UInt8(1)...3 { book.note(peer(number), of: Network.node(UInt64(number))) }
        book.note(try policy(text))
        return book
    }

    @Test func withoutAnythingTheSettingsAreTheStandardOnes() throws {
        var book = QoSBook()
        book.note(own: try grant(1), name: "node-1")
        book.note(peer(9), of: Network.node(9))
        let settings = book.takeSettings()
        #expect(settings == Self.granted)
        #expect(book.rates == TenantRates())
    }

    /// Of a network that says nothing: nobody has more than the best that can be granted.
    private static let granted = {
        var settings = QoSSettings()
        settings.ceiling = .token
        settings.peersCeiling = .token
        return settings
    }()

    /// Even the best grant allows no network control.
    @Test func theBestGrantIsACeilingToo() throws {
        var book = try gateway("")
        book.note(local: try policy("""
            "peers":{"\(Network.publicKey(1).base64)":{"rate":60000}}
            """))
        let settings = book.takeSettings()
        #expect(settings.peersCeiling == .token && settings.ceiling == .token)
        #expect(settings.peers == [
            Network.publicKey(1): .init(link: .init(bitsPerSecond: 60_000))
        ])
        book.note(own: nil, name: "hq")
        let suspended = book.takeSettings()
        #expect(suspended.peersCeiling == .token)
    }

    @Test func aBranchShapesByItsOwnUplink() throws {
        var book = QoSBook()
        book.note(own: try grant(1), name: "node-1")
        book.note(peer(9, name: "hq"), of: Network.node(9))
        book.note(try policy(lines))
        let settings = book.takeSettings()
        #expect(
            settings.link
                == .init(
                    bitsPerSecond: 1_000_000, overheadBytes: 22, minimumBitsPerSecond: 400_000))
        #expect(settings.peers.isEmpty, "a gateway's line is shared, and the gateway's affair")
    }

    @Test func aGatewayShapesTowardsEachBranchByItsDownlink() throws {
        var book = try gateway(lines)
        let settings = book.takeSettings()
        #expect(settings.link == .init(bitsPerSecond: 9_000_000))
        #expect(settings.peers == [
            Network.publicKey(1): .init(link: .init(bitsPerSecond: 2_000_000, overheadBytes: 22)),
            Network.publicKey(2): .init(link: .init(bitsPerSecond: 3_000_000)),
        ])
    }

    @Test func aRenamedNodeHasTheLineOfItsNewName() throws {
        var book = try gateway(lines)
        _ = book.takeSettings()
        book.note(peer(1, name: "node-9"), of: Network.node(1))
        book.note(peer(3, name: "node-2"), of: Network.node(3))
        #expect(book.isChanged)
        let towards = book.takeSettings().peers
        #expect(Set(towards.keys) == [Network.publicKey(2), Network.publicKey(3)])
        book.note(own: try grant(0, role: .gateway), name: "node-1")
        #expect(book.isChanged)
        let own = book.takeSettings().link
        #expect(own?.bitsPerSecond == 1_000_000)
        book.note(own: try grant(0, role: .gateway), name: "nobody")
        let none = book.takeSettings().link
        #expect(none == nil)
    }

    @Test func aRotatedKeyHasTheLineOfItsNode() throws {
        var book = try gateway(lines)
        _ = book.takeSettings()
        book.note(peer(1, key: 70), of: Network.node(1))
        #expect(book.isChanged)
        let towards = book.takeSettings().peers
        #expect(Set(towards.keys) == [Network.publicKey(70), Network.publicKey(2)])
    }

    @Test func grantsLimitClassesWhateverPoliciesSay() throws {
        var book = QoSBook()
        book.note(own: try grant(0, role: .gateway, ceiling: .prompt), name: "hq")
        book.note(peer(1, ceiling: .bulk), of: Network.node(1))
        book.note(peer(2, ceiling: .activation), of: Network.node(2))
        book.note(peer(3), of: Network.node(3))
        let keys = (1...3).map { Network.publicKey($0).base64 }
        book.note(local: try policy("""
            "peers":{"\(keys[0])":{"ceiling":"token"},"\(keys[1])":{"ceiling":"background"},\
            "\(keys[2])":{"ceiling":"prompt"}}
            """))
        let settings = book.takeSettings()
        #expect(settings.ceiling == .prompt)
        #expect(settings.peers[Network.publicKey(1)]?.ceiling == .bulk)
        #expect(settings.peers[Network.publicKey(2)]?.ceiling == .background)
        #expect(settings.peers[Network.publicKey(3)]?.ceiling == .prompt)
    }

    @Test func whoeverWasSuspendedHasNoCeilingOfItsOwn() throws {
        var book = QoSBook()
        book.note(own: try grant(1, ceiling: .bulk), name: "node-1")
        _ = book.takeSettings()
        book.note(own: nil, name: "node-1")
        #expect(book.isChanged)
        let ceiling = book.takeSettings().ceiling
        #expect(ceiling == nil)
    }

    @Test func onlyWhatMattersMakesNewSettings() throws {
        var book = try gateway(lines)
        _ = book.takeSettings()
        book.note(try policy(lines))
        book.note(peer(1), of: Network.node(1))
        book.note(own: try grant(0, role: .gateway), name: "hq")
        // Neither has a line or a ceiling.
        book.note(peer(4), of: Network.node(4))
        book.note(nil, of: Network.node(3))
        book.note(local: nil)
        #expect(!book.isChanged)
        book.note(nil, of: Network.node(2))
        #expect(book.isChanged)
        let left = book.takeSettings().peers
        #expect(Set(left.keys) == [Network.publicKey(1)])
        book.giveBack()
        #expect(book.isChanged, "they did not come into force")
    }

    @Test func aPolicyThatIsGoneLeavesNothingBehind() throws {
        var book = try gateway(lines + #","weights":{"bulk":7},"maximum_rate":5000"#)
        _ = book.takeSettings()
        #expect(book.rates == TenantRates(maximum: 5_000))
        book.note(nil as QoSPolicy?)
        #expect(book.isChanged)
        let settings = book.takeSettings()
        #expect(settings == Self.granted)
        #expect(book.rates == TenantRates())
    }

    @Test func theLocalFileKnowsTheLineBetter() throws {
        var book = try gateway(lines)
        book.note(local: try policy("""
            "link":{"rate":500000,"overhead_bytes":0},"links":{"node-2":{"downlink_rate":70000}},\
            "peers":{"\(Network.publicKey(1).base64)":{"rate":60000,"outer":"class"}}
            """))
        let settings = book.takeSettings()
        #expect(settings.link == .init(bitsPerSecond: 500_000, overheadBytes: 0))
        #expect(settings.peers == [
            Network.publicKey(1): .init(link: .init(bitsPerSecond: 60_000), outerMarking: .byClass),
            Network.publicKey(2): .init(link: .init(bitsPerSecond: 70_000)),
        ])
    }
}
