import EgressScheduling
import Foundation
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import Gateway

@Suite struct TenantDomainTests {
    /// What is wrong with a file of the tenant acme.
    private func fault(_ text: String) -> TenantFault? {
        do throws(TenantFault) {
            return try GatewayJSON.decode(TenantDomain.self, from: Array(text.utf8)).fault()
        } catch {
            return error
        }
    }

    private func fault(replacing old: String, by new: String) -> TenantFault? {
        precondition(Self.whole.contains(old))
        return fault(Self.whole.replacing(old, with: new))
    }

    private static let whole = """
        {"tenant":"acme","interface":"acme0","place":{"namespace":"acme"},
         "addresses":["10.0.0.1/24","fd00::1/64"],"configuration":"/etc/branchline/acme.conf",
         "limits":{"weight":3,"minimumRate":1000000,"maximumRate":5000000,
                   "maximumPacketsPerSecond":10000,"handshakesPerSecond":20,"peersMax":100,
                   "flowsMax":64},
         "routeHook":"/usr/local/bin/routes","qos":"/etc/branchline/qos/acme.json"}
        """

    @Test func wholeDefinitionIsReadAndWritten() throws {
        let domain = try GatewayJSON.decode(TenantDomain.self, from: Array(Self.whole.utf8))
        #expect(domain.fault() == nil)
        #expect(domain.tenant == "acme" && domain.interface == "acme0")
        #expect(domain.place == .namespace("acme"))
        #expect(domain.addresses.map(\.description) == ["10.0.0.1/24", "fd00::1/64"])
        #expect(domain.limits.weight == 3 && domain.limits.maximumRate == 5_000_000)
        #expect(domain.limits.peersMax == 100 && domain.routeHook == "/usr/local/bin/routes")
        #expect(domain.qos == "/etc/branchline/qos/acme.json")
        let again = try GatewayJSON.decode(
            TenantDomain.self, from: try GatewayJSON.encode(domain))
        #expect(again == domain)
    }

    @Test func whatIsLeftOutHasItsDefault() throws {
        let text = #"{"tenant":"a","interface":"a0","place":{"table":1},"addresses":["10.0.0.1"]}"#
        let domain = try GatewayJSON.decode(TenantDomain.self, from: Array(text.utf8))
        #expect(domain.fault() == nil && domain.limits == TenantLimits())
        #expect(domain.addresses.first?.prefixLength == 32)
        let written = String(decoding: try GatewayJSON.encode(domain), as: UTF8.self)
        #expect(!written.contains("limits") && !written.contains("membership"))
    }

    @Test(arguments: [
        (#"{"namespace":"acme"}"#, TenantDomain.Place.namespace("acme")),
        (#"{"namespace":"/proc/1/ns/net"}"#, .namespace("/proc/1/ns/net")),
        (#"{"table":252}"#, .table(252)), (#"{"table":4294967295}"#, .table(.max)),
        (#"{"vrf":"blue"}"#, .vrf("blue")), (#"{"host":true}"#, .host),
    ])
    func everyPlaceIsReadAndWritten(text: String, place: TenantDomain.Place) throws {
        #expect(fault(replacing: #"{"namespace":"acme"}"#, by: text) == nil)
        let bytes = try GatewayJSON.encode(place)
        #expect(try GatewayJSON.decode(TenantDomain.Place.self, from: bytes) == place)
    }

    @Test(arguments: [
        #"{}"#, #"{"namespace":"acme","table":1}"#, #"{"host":false}"#, #"{"table":0}"#,
        #"{"table":254}"#, #"{"table":-1}"#, #"{"namespace":""}"#,
        #"{"namespace":".."}"#, #"{"namespace":"a/b"}"#, #"{"vrf":"a name"}"#, #"{"table":"x"}"#,
    ])
    func impossiblePlaceIsRefused(text: String) {
        #expect(fault(replacing: #"{"namespace":"acme"}"#, by: text)?.kind == .invalidValue)
    }

    @Test func misspeltMemberIsNamed() {
        for (old, new) in [
            (#""limits""#, "limit"), (#""weight""#, "wait"), (#""namespace""#, "netns"),
        ] {
            let fault = fault(replacing: old, by: "\"\(new)\"")
            #expect(fault?.kind == .unknownMember && fault?.detail.contains(new) == true)
        }
    }

    @Test func missingMemberIsNamed() {
        let fault = fault(replacing: #""interface":"acme0","#, by: "")
        #expect(fault?.kind == .invalidValue)
        #expect(fault?.detail == "interface is missing")
    }

    @Test(arguments: ["", "{", "[]", "null", "\u{0}", #"{"tenant":"acme""#])
    func brokenFileIsRefused(text: String) {
        #expect([.fileBroken, .invalidValue].contains(fault(text)?.kind))
    }

    @Test(arguments: ["Acme", "a_b", "", "-a", "gateway", "status", "../x"])
    func impossibleTenantNameIsRefused(name: String) {
        let fault = fault(replacing: #""tenant":"acme""#, by: "\"tenant\":\"\(name)\"")
        #expect(fault?.kind == .invalidValue)
    }

    @Test(arguments: [
        "10.0.0.1/33", "10.0.0", "fd00::1/129", "0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/24",
        "255.255.255.255/32", "::1/128", "ff02::1/64", "::/64",
    ])
    func impossibleAddressIsRefused(address: String) {
        #expect(
            fault(replacing: "10.0.0.1/24", by: address)?.kind == .invalidValue, "\(address)")
    }

    @Test func sameAddressTwiceIsRefused() {
        #expect(fault(replacing: "fd00::1/64", by: "10.0.0.1/16")?.kind == .duplicateAddresses)
    }

    @Test func tenantWithoutAddressesIsRefused() {
        let text = #"{"tenant":"a","interface":"a0","place":{"table":100}}"#
        #expect(fault(text)?.kind == .noAddresses)
        #expect(fault(text.dropLast() + #","addresses":[]}"#)?.kind == .noAddresses)
        // They may come with either of these.
        #expect(fault(text.dropLast() + #","membership":"/m"}"#) == nil)
        #expect(fault(text.dropLast() + #","configuration":"/c"}"#) == nil)
    }

    private func fault(_ text: String.SubSequence) -> TenantFault? { fault(String(text)) }

    @Test func contradictionsAreNamed() {
        #expect(
            fault(replacing: #""minimumRate":1000000"#, by: #""minimumRate":5000001"#)?.kind
                == .contradictingLimits)
        #expect(
            fault(replacing: #""minimumRate":1000000"#, by: #""minimumRate":5000000"#) == nil)
        #expect(fault(replacing: #""weight":3"#, by: #""weight":0"#)?.kind == .contradictingLimits)
        let both = #""membership":"/m","routeHook""#
        #expect(fault(replacing: #""routeHook""#, by: both)?.kind == .contradictingSources)
    }

    @Test func relativePathIsRefused() {
        #expect(
            fault(replacing: "/etc/branchline/acme.conf", by: "acme.conf")?.kind == .invalidValue)
    }
}
