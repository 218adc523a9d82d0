import Cryptography
import PacketMemory
import TestSupport
import Testing

@testable import ControlModel

/// The lines that admins hand to each other.
@Suite struct AdminTextTests {
    let world = World()

    @Test func requestIsReadBack() {
        let text = AdminRequest.text(of: world.admin)
        #expect(AdminRequest(parsing: text)?.key == world.admin.verifyingKey)
    }

    @Test func everySlipInCopyingARequestShows() {
        let text = Array(AdminRequest.text(of: world.admin))
        for index in text.indices {
            var slipped = text
            slipped[index] = text[index] == "A" ? "B" : "A"
            #expect(AdminRequest(parsing: String(slipped)) == nil, "at \(index)")
            #expect(AdminRequest(parsing: String(text[..<index])) == nil)
        }
        #expect(AdminRequest(parsing: String(text) + "~") == nil)
    }

    @Test(arguments: [
        (nil, nil), ("bla_x", nil), (nil, [UInt8](repeating: 1, count: 32)),
        ("bla_x", [UInt8](repeating: 1, count: 32)),
    ] as [(String?, [UInt8]?)])
    func invitationIsReadBack(token: String?, pin: [UInt8]?) throws {
        let invitation = AdminInvitation(
            root: world.root.verifyingKey, link: try world.adminLink(),
            coordinator: "https://hq.example:8443/~a", pin: pin.flatMap { ServerPin(bytes: $0) },
            apiToken: token)
        #expect(AdminInvitation(parsing: invitation.text) == invitation)
    }

    @Test(arguments: [
        "", "bli1", "bli1~~~~~", "bli2~ROOT~link~~~https://hq", "bli1~ROOT~~~~https://hq",
        "bli1~ROOT~link~x~~https://hq", "bli1~ROOT~link~~~", "bli1~x~link~~~https://hq",
    ])
    func whatIsNoInvitationIsRefused(text: String) {
        let text = text.replacing("ROOT", with: world.root.verifyingKey.base64URL)
        #expect(AdminInvitation(parsing: text) == nil)
    }

    @Test func keyFilesTellTheirPublicKey() throws {
        let arena = ByteArena(count: KeyFile.unprotectedCount)
        KeyFile.writeUnprotected(world.admin, kind: .admin, to: arena.whole)
        #expect(try KeyFile.publicKey(arena.whole) == world.admin.verifyingKey)
        #expect(throws: KeyFileFault.notAKeyFile) {
            try KeyFile.publicKey(arena.whole.prefix(KeyFile.unprotectedCount - 1))
        }
    }
}
