import PacketFormats
import Testing

@testable import ControlModel

@Suite struct AddressPoolTests {
    @Test(arguments: [
        ("10.64.0.0/16", "10.64.0.1", "10.64.255.254", 65_534),
        ("10.0.0.0/8", "10.0.0.1", "10.255.255.254", 16_777_214),
        ("10.9.0.0/30", "10.9.0.1", "10.9.0.2", 2),
        ("10.9.0.0/31", "10.9.0.0", "10.9.0.1", 2),
        ("10.9.0.7/32", "10.9.0.7", "10.9.0.7", 1),
        ("fd00:64::/64", "fd00:64::1", "fd00:64::ffff:ffff:ffff:ffff", TrustLimits.integerMax),
        ("fd00::/16", "fd00::1", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", TrustLimits.integerMax),
        ("fd00::/76", "fd00::1", "fd00::f:ffff:ffff:ffff", (1 << 52) - 1),
        ("fd00::/126", "fd00::1", "fd00::3", 3),
        ("fd00::/127", "fd00::", "fd00::1", 2),
        ("fd00::5/128", "fd00::5", "fd00::5", 1),
    ] as [(String, String, String, Int64)])
    func poolsKnowTheirEnds(
        prefix: String, first: String, last: String, capacity: Int64
    ) throws {
        let pool = try pool(prefix)
        #expect(pool.first.description == first)
        #expect(pool.last.description == last)
        #expect(pool.capacity == capacity)
        #expect(pool.holds(pool.first) && pool.holds(pool.last))
        #expect(!pool.holds(pool.last.successor))
    }

    @Test(arguments: [
        "0.0.0.0/0", "8.0.0.0/7", "127.0.0.0/8", "127.5.0.0/16", "169.254.0.0/16", "224.0.0.0/8",
        "255.255.255.255/32", "::/0", "::1/128", "::ffff:10.0.0.0/104", "fe80::/64", "ff02::/16",
        "2000::/15",
    ])
    func networksThatNoNodeMayHaveAreNoPools(prefix: String) throws {
        #expect(AddressPool(try #require(IPPrefix(prefix))) == nil)
    }

    @Test(arguments: [
        ("10.64.0.0/16", "10.64.5.0/24", true), ("10.64.0.0/16", "10.65.0.0/16", false),
        ("10.64.0.0/16", "fd00::/64", false), ("fd00::/48", "fd00::1:0:0:0/80", true),
    ])
    func overlapsAreSeenFromBothSides(first: String, second: String, overlaps: Bool) throws {
        let one = try pool(first), other = try pool(second)
        #expect(one.overlaps(other) == overlaps && other.overlaps(one) == overlaps)
    }

    @Test func sortKeysOrderAsAddressesDo() throws {
        let addresses = try [
            "0.0.0.0", "9.255.255.255", "10.0.0.1", "255.255.255.255", "::", "::9", "::a",
            "1::", "fd00:64::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ].map { try #require(IPAddress($0)) }
        #expect(addresses.map(\.sortKey) == addresses.map(\.sortKey).sorted())
        #expect(addresses.map { IPAddress(sortKey: $0.sortKey) } == addresses)
        for text in ["", "4", "40a00000", "40a0000010", "6\(String(repeating: "g", count: 32))",
            "4+a000001", "50a000001"] {
            #expect(IPAddress(sortKey: text) == nil)
        }
    }

    @Test func successorsCarry() throws {
        #expect(try #require(IPAddress("10.0.0.255")).successor.description == "10.0.1.0")
        #expect(try #require(IPAddress("::ffff:ffff:ffff:ffff")).successor.description
            == "0:0:0:1::")
        #expect(try #require(IPAddress("255.255.255.255")).successor.description == "0.0.0.0")
    }

    private func pool(_ text: String) throws -> AddressPool {
        let prefix = try #require(IPPrefix(text))
        return try #require(AddressPool(prefix))
    }
}
