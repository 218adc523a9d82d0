import Cryptography
import TestSupport
import Testing

@testable import ControlModel

struct JoinTextTests {
    private let world = World()

    private func text(_ change: (inout EnrolmentToken) -> Void = { _ in }) throws -> String {
        try JoinText(
            root: world.root.verifyingKey, adminLink: try world.adminLink(),
            token: changed(world.token, change), key: world.delegated.clone(),
            signedBy: world.admin, at: World.now
        ).unsafeText()
    }

    private func parse(_ text: String, at now: Int64 = World.now) -> Refusal.Reason? {
        reason { _ = try JoinText(parsing: text, at: now) }
    }

    @Test func oneStringIsEnoughToJoin() throws {
        let text = try text()
        #expect(text.utf8.count < 2048)
        #expect(text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f })
        let join = try JoinText(parsing: text, at: World.now)
        let root = join.root, token = join.token, again = join.unsafeText()
        #expect(root == world.root.verifyingKey)
        #expect(token == world.token)
        #expect(again == text)
        let chain = try join.join(with: world.joinGrant, at: World.now)
        #expect(try chain == world.joinChain())
        let verified = try world.verifier.verifyGrant(chain, at: World.now)
        #expect(verified.grant == world.joinGrant)
    }

    @Test func aNodeDoesNotSignWhatNobodyAccepts() throws {
        let join = try JoinText(parsing: try text(), at: World.now)
        let grant = changed(world.joinGrant) { $0.addresses = ["10.65.0.2/32"] }
        do {
            _ = try join.join(with: grant, at: World.now)
            Issue.record("a grant beyond its token was signed")
        } catch {
            #expect(error.reason == .addressOutOfScope)
        }
    }

    @Test func aTokenBeyondItsAdminIsNotMade() {
        #expect(reason { try text { $0.tenant = "gamma" } } == .tenantOutOfScope)
        #expect(reason { try text { $0.key = self.world.stranger.verifyingKey } } == .seedMismatch)
    }

    @Test func itCountsWithinItsTime() throws {
        let text = try text(), validity = world.token.validity
        let skew = TrustLimits.skewSecondsDefault
        #expect(parse(text, at: validity.from - skew - 1) == .notYetValid)
        #expect(parse(text, at: validity.from - skew) == nil)
        #expect(parse(text, at: validity.until + skew - 1) == nil)
        #expect(parse(text, at: validity.until + skew) == .expired)
    }

    @Test func everyTruncationIsRefused() throws {
        let text = try text()
        for count in 0..<text.count {
            #expect(parse(String(text.prefix(count))) != nil, "\(count)")
        }
        #expect(parse(text + "A") != nil)
        #expect(parse(text + "~") == .notAJoinText)
        #expect(parse(text + "\n") != nil)
    }

    /// Nothing of it can be changed: not where to join, not the key that the server must show.
    @Test func everyChangedCharacterIsRefused() throws {
        let characters = Array(try text())
        for index in characters.indices {
            var changed = characters
            changed[index] = changed[index] == "A" ? "B" : "A"
            #expect(parse(String(changed)) != nil, "\(index)")
        }
    }

    @Test func partsOfTwoTextsDoNotMix() throws {
        let first = try text().split(separator: "~").map(String.init)
        let other = try JoinText(
            root: world.root.verifyingKey, adminLink: try world.adminLink(),
            token: changed(world.token) {
                $0.key = self.world.stranger.verifyingKey
                $0.id = World.tokenID(6)
            }, key: world.stranger.clone(), signedBy: world.admin, at: World.now
        ).unsafeText().split(separator: "~").map(String.init)
        var mixed = first
        mixed[2] = other[2]
        #expect(parse(mixed.joined(separator: "~")) == .seedMismatch)
        mixed = first
        mixed[4] = other[4]
        #expect(parse(mixed.joined(separator: "~")) == .seedMismatch)
        mixed = first
        mixed[1] = world.stranger.verifyingKey.base64URL
        #expect(parse(mixed.joined(separator: "~")) == .unknownIssuer)
        mixed = first
        mixed.swapAt(3, 4)
        #expect(parse(mixed.joined(separator: "~")) == .unknownIssuer)
    }

    @Test func otherTextIsRefused() throws {
        for text in ["", "bl1", "bl1~~~~", "bl2~a~b~c~d", "BL1~a~b~c~d", "bl1~a~b~c~d"] {
            #expect(parse(text) == .notAJoinText, "\(text)")
        }
        let parts = try text().split(separator: "~").map(String.init)
        for seed in ["", "AAAA", parts[2] + "A", parts[2] + "AA", String(parts[2].dropLast())] {
            var other = parts
            other[2] = seed
            #expect(parse(other.joined(separator: "~")) == .notAJoinText, "\(seed)")
        }
        let long = "bl1~" + String(repeating: "A", count: TrustLimits.joinTextBytesMax)
        #expect(parse(long) == .tooLarge)
        #expect(parse(String(long.dropLast(4))) == .notAJoinText)
    }
}
