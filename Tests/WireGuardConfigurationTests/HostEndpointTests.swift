import PacketFormats
import Testing
import WireGuardConfiguration

/// Endpoints, addresses and names as files write them.
@Suite struct HostEndpointTests {
    @Test(arguments: [
        "192.0.2.1:1", "192.0.2.1:65535", "[2001:db8::1]:51820", "[fe80::1%3]:51820",
    ])
    func addressesAreReadAndWrittenAlike(_ text: String) throws {
        let endpoint = try #require(HostEndpoint(text))
        guard case .address = endpoint else {
            Issue.record("\(text) was taken for a name")
            return
        }
        #expect(endpoint.description == text)
    }

    @Test(arguments: [
        "vpn.example.org:51820", "localhost:1", "a-b_c.example.:1", "[fe80::1%eth0]:51820",
        "1and1.example:1", "\(String(repeating: "a", count: 63)).example:1",
    ])
    func namesAreReadAndWrittenAlike(_ text: String) throws {
        let endpoint = try #require(HostEndpoint(text))
        guard case .name = endpoint else {
            Issue.record("\(text) was taken for an address")
            return
        }
        #expect(endpoint.description == text)
    }

    @Test(arguments: [
        "", ":", ":1", "192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536",
        "192.0.2.1:http", "192.0.2:1", "192.0.2.256:1", "2001:db8::1:51820", "[2001:db8::1]",
        "[2001:db8::1]51820", "[]:1", "[192.0.2.1]:1", "[name]:1", "-a.example:1", "a-.example:1",
        "a..example:1", "a b:1", "a/b:1", "[fe80::1%]:1", "[fe80::1%a/b]:1", "[192.0.2.1%eth0]:1",
        "\(String(repeating: "a", count: 64)).example:1",
        "\(String(repeating: "a.", count: 127)):1",
    ])
    func otherTextIsRefused(_ text: String) {
        #expect(HostEndpoint(text) == nil)
    }

    @Test(arguments: [
        ("10.0.0.7/24", "10.0.0.7/24"), ("10.0.0.7", "10.0.0.7/32"), ("10.0.0.7/0", "10.0.0.7/0"),
        ("fd00::7/128", "fd00::7/128"), ("fd00::7", "fd00::7/128"),
    ])
    func interfaceAddressesKeepTheirHostPart(_ text: String, _ written: String) {
        #expect(AddressSetting(text)?.description == written)
    }

    @Test(arguments: [
        "", "/", "10.0.0.7/", "10.0.0.7/33", "10.0.0.7/-1", "fd00::/129", "x/8", "1/8/8",
    ])
    func otherAddressSettingesAreRefused(_ text: String) {
        #expect(AddressSetting(text) == nil)
    }
}
