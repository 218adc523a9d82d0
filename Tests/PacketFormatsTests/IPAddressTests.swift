import PacketFormats
import Testing

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
        ("10.0.0.1", "10.0.0.1"), ("::", "::"), ("::1", "::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"),
        ("fe80:0000:0000:0000:0202:b3ff:fe1e:8329", "fe80::202:b3ff:fe1e:8329"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"), ("ff02::1", "ff02::1"),
        (
            "1111:2222:3333:4444:5555:6666:123.123.123.123",
            "1111:2222:3333:4444:5555:6666:7b7b:7b7b"
        ),
    ])
    func textComesBackCanonical(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
    }

    @Test(arguments: [
        "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4",
        "1.2.3.4/32", "1.2.3.4:80", "0x1.2.3.4", "1.2.3.-4", "::1%3", "[::1]", ":::", "1::2::3",
        "12345::", "g::", "::1/128", "1.2.3.4\0", "::1\0junk", "localhost", "1.2.3.4\n",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999", "٣.2.3.4",
    ])
    func nonsenseIsRefused(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func familiesWithTheSameNumberDiffer() {
        let four = IPAddress(ipv4: 1)
        let six = IPAddress(high: 0, low: 1)
        #expect(four != six)
        #expect(four < six)
        #expect(IPAddress(ipv4: .max) < six)
        #expect(IPAddress(high: 1, low: 0) > IPAddress(high: 0, low: .max))
    }

    @Test func onlyMappedAddressesAreUnmapped() {
        #expect(IPAddress("::ffff:10.0.0.1")?.unmapped == IPAddress("10.0.0.1"))
        for text in ["::10.0.0.1", "::fffe:10.0.0.1", "1::ffff:10.0.0.1", "10.0.0.1"] {
            #expect(IPAddress(text)?.unmapped == IPAddress(text))
        }
    }
}

@Suite struct IPPrefixTests {
    @Test(arguments: [
        ("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("0.0.0.0/0", "0.0.0.0/0"),
        ("255.255.255.255/31", "255.255.255.254/31"), ("1.2.3.4/32", "1.2.3.4/32"),
        ("::/0", "::/0"), ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8:ffff:ffff:ffff::/63", "2001:db8:ffff:fffe::/63"),
        ("2001:db8:1:2:ffff::/64", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::/65", "2001:db8:1:2:8000::/65"),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"
        ),
    ])
    func hostBitsAreCleared(text: String, canonical: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect(prefix.description == canonical)
        #expect(IPPrefix(canonical) == prefix)
    }

    @Test(arguments: [
        "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08",
        "10.0.0.0/8/8", "10.0.0.0/ 8", "10.0.0.0/8 ", "10.0.0.0/٨", "10.0.0/8",
        "10.0.0.0/99999999999999999999", "",
    ])
    func nonsenseIsRefused(text: String) {
        #expect(IPPrefix(text) == nil)
    }

    @Test func lengthsBeyondTheFamilyAreRefused() throws {
        let four = try #require(IPAddress("1.2.3.4"))
        #expect(IPPrefix(four, length: 32) != nil)
        #expect(IPPrefix(four, length: 33) == nil)
        #expect(IPPrefix(four, length: -1) == nil)
        let six = try #require(IPAddress("::1"))
        #expect(IPPrefix(six, length: 128) != nil)
        #expect(IPPrefix(six, length: 129) == nil)
    }

    @Test func containsItsOwnAddressesOnly() throws {
        let prefix = try #require(IPPrefix("10.64.0.0/10"))
        #expect(prefix.contains(IPAddress(ipv4: 0x0a40_0000)))
        #expect(prefix.contains(IPAddress(ipv4: 0x0a7f_ffff)))
        #expect(!prefix.contains(IPAddress(ipv4: 0x0a80_0000)))
        #expect(!prefix.contains(IPAddress(ipv4: 0x0a3f_ffff)))
        #expect(!prefix.contains(IPAddress(high: 0, low: 0x0a40_0000)))
    }
}

@Suite struct EndpointTests {
    @Test(arguments: [
        "1.2.3.4:51820", "[2001:db8::1]:1", "[fe80::1%3]:65535", "[::ffff:1.2.3.4]:9",
        "1.2.3.4:0", "[fe80::1%4294967295]:80",
    ])
    func textComesBack(text: String) throws {
        #expect(try #require(Endpoint(text)).description == text)
    }

    @Test(arguments: [
        "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:٨", "1.2.3.4:+80", ":80",
        "::1:80", "[::1]", "[::1]:", "[::1:80", "::1]:80", "[1.2.3.4]:80", "[]:80", "[%3]:80",
        "[fe80::1%]:80", "[fe80::1%eth0]:80", "[fe80::1%4294967296]:80",
        "host:80", "1.2.3.4:80 ", "", "[::1]]:80", "[[::1]:80", "[::1]x:80",
    ])
    func nonsenseIsRefused(text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test func scopeTellsEndpointsApart() throws {
        let bare = try #require(Endpoint("[fe80::1]:5"))
        let scoped = try #require(Endpoint("[fe80::1%4]:5"))
        #expect(scoped.scope == 4)
        #expect(bare != scoped)
    }

    @Test func scopesNamedAreAskedFor() {
        let indices = { (name: String) -> UInt32? in name == "eth0" ? 7 : nil }
        #expect(Endpoint("[fe80::1%eth0]:5", scope: indices)?.scope == 7)
        #expect(Endpoint("[fe80::1%3]:5", scope: indices)?.scope == 3)
        #expect(Endpoint("[fe80::1%eth1]:5", scope: indices) == nil)
        #expect(Endpoint("[fe80::1%]:5", scope: { _ in 1 }) == nil)
    }
}
