import Cryptography
import Testing
import WireGuardConfiguration

@testable import TunnelEngine

/// Which requests with new keys are refused before anything of them is carried out.
@Suite struct KeyPlanTests {
    private let own = key(1), first = key(2), second = key(3), new = key(4)

    private static func key(_ number: UInt8) -> PublicKey {
        // Exactly 32 bytes are a key.
        PublicKey(bytes: [UInt8](repeating: number, count: 32))!
    }

    /// An interface with two peers.
    private func plan() -> KeyPlan {
        KeyPlan(own: own) { [first, second] in $0 == first || $0 == second }
    }

    private func refusal(_ body: (inout KeyPlan) throws(UAPIError) -> Void) -> UAPIError? {
        var plan = plan()
        do {
            try body(&plan)
            return nil
        } catch {
            #expect(error.kind == .invalid)
            return error
        }
    }

    @Test func freeKeySucceeds() {
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.apply(PeerSettings(publicKey: first, successorKey: new))
                try plan.apply(PeerSettings(publicKey: second, successorKey: second))
            } == nil)
    }

    @Test func keyThatIsTakenIsRefused() {
        for taken in [own, second] {
            #expect(
                refusal { plan throws(UAPIError) in
                    try plan.apply(PeerSettings(publicKey: first, successorKey: taken))
                } != nil)
        }
    }

    @Test func keysOfTheSameRequestCount() {
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.apply(PeerSettings(publicKey: new))
                try plan.apply(PeerSettings(publicKey: first, successorKey: new))
            } != nil)
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.apply(PeerSettings(publicKey: first, successorKey: new))
                try plan.apply(PeerSettings(publicKey: second, successorKey: new))
            } != nil)
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.apply(PeerSettings(publicKey: second, remove: true))
                try plan.apply(PeerSettings(publicKey: first, successorKey: second))
                try plan.apply(PeerSettings(publicKey: new, successorKey: first))
            } == nil)
        #expect(
            refusal { plan throws(UAPIError) in
                plan.removeAll()
                try plan.apply(PeerSettings(publicKey: first, successorKey: second))
            } == nil)
    }

    @Test func peerThatIsNotThereIsMadeUnlessOnlyUpdated() {
        let added = PeerSettings(publicKey: new, successorKey: second)
        #expect(refusal { plan throws(UAPIError) in try plan.apply(added) } != nil)
        let updated = PeerSettings(publicKey: new, updateOnly: true, successorKey: second)
        #expect(refusal { plan throws(UAPIError) in try plan.apply(updated) } == nil)
        let ignored = PeerSettings(publicKey: own, successorKey: second)
        #expect(refusal { plan throws(UAPIError) in try plan.apply(ignored) } == nil)
    }

    @Test func ownKeyIsRotatedToAFreeOne() {
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.setOwn(new, rotates: true)
                // The old one is free now, the new one is not.
                try plan.apply(PeerSettings(publicKey: first, successorKey: own))
            } == nil)
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.setOwn(new, rotates: true)
                try plan.apply(PeerSettings(publicKey: first, successorKey: new))
            } != nil)
        #expect(
            refusal { plan throws(UAPIError) in try plan.setOwn(first, rotates: true) } != nil)
        #expect(refusal { plan throws(UAPIError) in try plan.setOwn(nil, rotates: true) } != nil)
    }

    /// Without a rotation, a peer with the interface's new key goes.
    @Test func ownKeyTakesAPeersPlace() {
        #expect(
            refusal { plan throws(UAPIError) in
                try plan.setOwn(first, rotates: false)
                try plan.apply(PeerSettings(publicKey: second, successorKey: own))
            } == nil)
        #expect(refusal { plan throws(UAPIError) in try plan.setOwn(nil, rotates: false) } == nil)
    }
}
