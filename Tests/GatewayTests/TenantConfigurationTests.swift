import Cryptography
import Foundation
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import Gateway

@Suite struct TenantConfigurationTests {
    private let path = NSTemporaryDirectory() + "gateway-\(UUID().uuidString).conf"
    private let own = PrivateKey.generate()
    private let peers = [PrivateKey.generate(), .generate(), .generate()]

    private func key(_ peer: Int) -> String { peers[peer].publicKey.base64 }

    private func text(
        _ interface: String = "Address = 10.0.0.1/24", _ peers: String = ""
    ) -> String {
        var key: [UInt8] = []
        own.unsafeAppendBase64(to: &key)
        return "[Interface]\nPrivateKey = \(String(decoding: key, as: UTF8.self))\n\(interface)\n"
            + peers
    }

    private func peer(_ index: Int, _ allowed: String, _ more: String = "") -> String {
        "[Peer]\nPublicKey = \(key(index))\nAllowedIPs = \(allowed)\n\(more)\n"
    }

    private func read(
        _ text: String, addresses: [String] = [], peersMax: Int? = nil
    ) throws(TenantFault) -> TenantConfiguration {
        try? Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try? FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        var domain = TenantDomain(
            tenant: "acme", interface: "acme0", place: .host,
            addresses: addresses.compactMap { AddressSetting($0) }, configuration: path)
        domain.limits.peersMax = peersMax
        return try TenantConfiguration(of: domain, at: path, sharedPort: 51_820)
    }

    private func fault(_ text: String, peersMax: Int? = nil) -> TenantFault? {
        do throws(TenantFault) {
            _ = try read(text, peersMax: peersMax)
            return nil
        } catch {
            return error
        }
    }

    @Test func addressesComeFromEither() throws {
        #expect(try read(text()).addresses.map(\.description) == ["10.0.0.1/24"])
        let both = try read(text(), addresses: ["10.0.0.1/24", "fd00::1/64"])
        #expect(both.addresses.map(\.description) == ["10.0.0.1/24", "fd00::1/64"])
        #expect(fault(text(""))?.kind == .noAddresses)
    }

    @Test func portIsTheSharedOne() {
        #expect(fault(text("Address = 10.0.0.1/24\nListenPort = 51820")) == nil)
        #expect(fault(text("Address = 10.0.0.1/24\nListenPort = 0")) == nil)
        let other = fault(text("Address = 10.0.0.1/24\nListenPort = 51821"))
        #expect(other?.kind == .configurationUnusable && other?.detail.contains("51820") == true)
    }

    @Test func unusableFilesAreNamed() throws {
        let keyless = fault("[Interface]\nAddress = 10.0.0.1/24\n")
        #expect(keyless?.detail.contains("PrivateKey") == true)
        #expect(fault("nonsense")?.kind == .configurationUnusable)
        #expect(
            fault(text("Address = fd00::1/64\nMTU = 1279"))?.kind == .configurationUnusable)
        #expect(fault(text("Address = fd00::1/64\nMTU = 1280")) == nil)
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: TenantFault.self) {
            try TenantConfiguration(
                of: TenantDomain(tenant: "a", interface: "a0", place: .host), at: path,
                sharedPort: 1)
        }
    }

    @Test func peersAreLimited() {
        let two = text("Address = 10.0.0.1/24", peer(0, "10.0.0.2/32") + peer(1, "10.0.0.3/32"))
        #expect(fault(two, peersMax: 1)?.kind == .configurationUnusable)
        #expect(fault(two, peersMax: 2) == nil)
    }

    @Test(arguments: [
        ("10.1.0.0/16", "10.1.0.0/16"), ("10.1.0.0/16", "10.1.2.0/24"),
        ("10.1.2.3/32", "10.0.0.0/8"), ("0.0.0.0/0", "192.0.2.0/24"), ("fd00::/8", "fd01::/64"),
    ])
    func overlappingPeersAreRefused(first: String, second: String) {
        let found = fault(text("Address = 10.0.0.1/24", peer(0, first) + peer(1, second)))
        #expect(found?.kind == .overlappingRoutes)
        #expect(found?.detail.contains(key(0).prefix(10)) == true)
    }

    @Test func neighboursDoNotOverlap() {
        let peers = peer(0, "10.1.0.0/16, 10.1.2.0/24") + peer(1, "10.2.0.0/16, 10.0.128.0/17")
            + peer(2, "fd00::/64")
        #expect(fault(text("Address = 10.0.0.1/24", peers)) == nil)
    }

    @Test func ownAddressIsNoPeers() {
        #expect(
            fault(text("Address = 10.0.0.1/24", peer(0, "10.0.0.1/32")))?.kind
                == .overlappingRoutes)
        #expect(fault(text("Address = 10.0.0.1/24", peer(0, "10.0.0.0/24"))) == nil)
    }

    @Test func routesAreThoseThatAddressesDoNotMake() throws {
        let peers = peer(0, "10.0.0.2/32, 192.168.1.0/24")
        #expect(
            try read(text("Address = 10.0.0.1/24", peers)).routes
                == Set([IPPrefix("192.168.1.0/24")].compactMap { $0 }))
        #expect(try read(text("Address = 10.0.0.1/24\nTable = off", peers)).routes.isEmpty)
    }

    @Test func whatHasNoEffectIsNoted() throws {
        #expect(try read(text()).notes.isEmpty)
        let notes = try read(text("Address = 10.0.0.1/24\nPostUp = true\nDNS = 10.0.0.9")).notes
        #expect(notes.count == 2)
    }

    @Test func unchangedPeersAreNotMentioned() throws {
        let first = try read(
            text("Address = 10.0.0.1/24", peer(0, "10.0.0.2/32") + peer(1, "10.0.0.3/32")))
        let fresh = first.settings(from: DeviceStatus())
        #expect(fresh.peers.count == 2 && fresh.privateKey != nil)
        #expect(fresh.listenPort == nil && !fresh.replacePeers)
        let present = DeviceStatus(
            privateKey: own, listenPort: 51_820,
            peers: [
                PeerStatus(
                    publicKey: peers[0].publicKey, endpoint: Endpoint("192.0.2.7:1000"),
                    allowedIPs: [IPPrefix("10.0.0.2/32")].compactMap { $0 }),
                PeerStatus(
                    publicKey: peers[1].publicKey,
                    allowedIPs: [IPPrefix("10.0.0.3/32")].compactMap { $0 }),
            ])
        let same = first.settings(from: present, previous: first)
        #expect(same.privateKey == nil && same.peers.isEmpty)
        let second = try read(
            text(
                "Address = 10.0.0.1/24",
                peer(0, "10.0.0.2/32, 10.9.0.0/16") + peer(2, "10.0.0.4/32")))
        let step = second.settings(from: present, previous: first)
        #expect(step.peers.map(\.publicKey) == [1, 0, 2].map { peers[$0].publicKey })
        #expect(step.peers[0].remove && step.peers[1].updateOnly)
        #expect(step.peers[1].endpoint == nil && step.peers[1].replaceAllowedIPs)
    }

    @Test func profileIsToldWhereItDiffers() throws {
        let addresses = "Address = 10.0.0.1/24"
        let plain = try read(text(addresses, peer(0, "10.0.0.2/32")))
        let strong = try read(text(addresses, peer(0, "10.0.0.2/32", "Profile = branchline")))
        var present = DeviceStatus(
            privateKey: own,
            peers: [
                PeerStatus(
                    publicKey: peers[0].publicKey,
                    allowedIPs: [IPPrefix("10.0.0.2/32")].compactMap { $0 })
            ])
        #expect(strong.settings(from: DeviceStatus()).peers.map(\.profile) == [.branchlineAES])
        #expect(strong.settings(from: present).peers.map(\.profile) == [.branchlineAES])
        #expect(plain.settings(from: present).peers.isEmpty)
        present.peers[0].profile = .branchlineAES
        #expect(strong.settings(from: present).peers.isEmpty)
        #expect(plain.settings(from: present).peers.map(\.profile) == [.wireguard])
    }

    @Test func endpointIsToldAgainWhenTheFileChangesIt() throws {
        let first = try read(
            text("Address = 10.0.0.1/24", peer(0, "10.0.0.2/32", "Endpoint = 192.0.2.1:1")))
        let present = DeviceStatus(
            privateKey: own,
            peers: [
                PeerStatus(
                    publicKey: peers[0].publicKey, endpoint: Endpoint("192.0.2.7:1000"),
                    allowedIPs: [IPPrefix("10.0.0.2/32")].compactMap { $0 })
            ])
        #expect(first.settings(from: present, previous: first).peers.isEmpty)
        let second = try read(
            text("Address = 10.0.0.1/24", peer(0, "10.0.0.2/32", "Endpoint = 192.0.2.1:2")))
        let step = second.settings(from: present, previous: first)
        #expect(step.peers.first?.endpoint == Endpoint("192.0.2.1:2"))
    }
}

@Suite struct PeerPlacesTests {
    private let path = NSTemporaryDirectory() + "gateway-\(UUID().uuidString).peers"
    private let keys = [PrivateKey.generate().publicKey, PrivateKey.generate().publicKey]

    @Test func placesOutlastTheProcess() {
        var places = PeerPlaces(path: path)
        places.note([
            PeerStatus(publicKey: keys[0], endpoint: Endpoint("192.0.2.1:7")),
            PeerStatus(publicKey: keys[1], endpoint: Endpoint("[2001:db8::1]:8")),
        ])
        places.save()
        var later = PeerPlaces(path: path)
        #expect(later[keys[0]] == Endpoint("192.0.2.1:7"))
        #expect(later[keys[1]] == Endpoint("[2001:db8::1]:8"))
        // One that was not heard of stays where it was; one that is no peer is forgotten.
        later.note([PeerStatus(publicKey: keys[1])])
        later.save()
        let last = PeerPlaces(path: path)
        #expect(last[keys[0]] == nil && last[keys[1]] != nil)
    }

    @Test func damagedLinesAreLeftOut() throws {
        let text = "x\n\(keys[0].base64) 192.0.2.1:0\n\(keys[1].base64) 192.0.2.1:9\nx y z\n"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        let places = PeerPlaces(path: path)
        #expect(places[keys[0]] == nil && places[keys[1]] == Endpoint("192.0.2.1:9"))
    }
}
