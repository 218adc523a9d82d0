import ControlModel
import Cryptography
import Testing

@testable import Coordinator

@Suite struct StoredChangeTests {
    private let node = SigningKey.generate().verifyingKey
    private let other = SigningKey.generate().verifyingKey

    @Test func changesConcernTheirAudienceOnly() {
        #expect(change(.all).concerns(node, .branch))
        #expect(change(.gateways).concerns(node, .gateway))
        #expect(!change(.gateways).concerns(node, .client))
        #expect(change(.others).concerns(node, .branch))
        #expect(!change(.others).concerns(node, .gateway))
        #expect(change(.node(node)).concerns(node, .gateway))
        #expect(!change(.node(node)).concerns(other, .gateway))
    }

    private func change(_ audience: StoredChange.Audience) -> StoredChange {
        StoredChange(number: 1, audience: audience, payload: [])
    }
}
