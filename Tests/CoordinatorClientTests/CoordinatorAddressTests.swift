import Testing

@testable import CoordinatorClient

@Suite struct CoordinatorAddressTests {
    @Test(arguments: [
        ("https://hq.example", "https://hq.example"),
        ("https://hq.example/", "https://hq.example"),
        ("https://hq.example:8443", "https://hq.example:8443"),
        ("https://192.0.2.1:1", "https://192.0.2.1:1"),
        ("https://[2001:db8::1]:65535", "https://[2001:db8::1]:65535"),
        ("https://[::1]", "https://[::1]"),
        ("https://hq.example/branchline/", "https://hq.example/branchline"),
    ])
    func addressesOfCoordinatorsAreAccepted(text: String, normal: String) throws {
        #expect(try CoordinatorAddress(text).text == normal)
    }

    @Test(arguments: [
        "", "hq.example", "http://hq.example", "https://", "https:///path", "https://:8443",
        "https://hq.example:0", "https://hq.example:65536", "https://hq.example:",
        "https://hq.example:+1", "https://hq.example:8443x", "https://user@hq.example",
        "https://hq.example?x", "https://hq.example#x", "https://hq.example/a/../b",
        "https://hq.example//a", "https://[::1", "https://[]:1", "https://[hq]:1",
        "https://[::1]8443", "https://hq example", "https://hq.example\r\nx", "https://hé.example",
        "HTTPS://hq.example", "https://" + String(repeating: "a", count: 248),
    ])
    func everythingElseIsRefused(text: String) {
        #expect {
            try CoordinatorAddress(text)
        } throws: { error in
            guard case ClientFault.invalidAddress(let shown) = error else { return false }
            return !shown.contains("\n") && shown.count <= 120
        }
    }

    @Test func longestAddressIsAccepted() throws {
        let text = "https://" + String(repeating: "a", count: 247)
        #expect(try CoordinatorAddress(text).text == text)
    }

    @Test func queriesAreEncoded() throws {
        let address = try CoordinatorAddress("https://hq.example/x")
        #expect(address.url("/v1/audit", query: []) == "https://hq.example/x/v1/audit")
        #expect(
            address.url("/v1/audit", query: [("after", "a&b=c d/é\n"), ("limit", "10")])
                == "https://hq.example/x/v1/audit?after=a%26b%3Dc%20d%2F%C3%A9%0A&limit=10")
    }
}
