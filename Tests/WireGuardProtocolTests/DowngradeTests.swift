import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// A peer that is configured for one profile accepts nothing else, in either direction.
struct DowngradeTests {
    /// Two profiles that are not the same.
    struct Case: Sendable, CustomTestStringConvertible {
        var spoken: TunnelProfile
        var configured: TunnelProfile
        var testDescription: String { "\(spoken) to \(configured)" }
    }

    static let cases = TunnelProfile.allCases.flatMap { spoken in
        TunnelProfile.allCases.filter { $0 != spoken }.map {
            Case(spoken: spoken, configured: $0)
        }
    }

    @Test(arguments: cases) func initiationOfAnotherProfileIsRefused(_ this: Case) throws {
        let pair = try Pair(this.spoken, right: this.configured)
        #expect(pair.right.lastProfileMismatch(pair.leftID) == nil)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(initiation, from: .test(77), now: second)
                == .dropped(.wrongProfile))
        // Nothing is sent, and nothing of the peer has changed.
        #expect(pair.right.actions.isEmpty)
        #expect(pair.right.endpoint(pair.leftID) == pair.leftEndpoint)
        #expect(pair.right.currentSession(pair.leftID) == nil)
        // This end knows what to say.
        let mismatch = try pair.right.lastProfileMismatch(pair.leftID).orThrow()
        #expect(mismatch.configured == this.configured)
        #expect(mismatch.spoken == this.spoken)
        #expect(mismatch.noticedAt == .test(second))
        // The other hears nothing, as anybody would.
        #expect(pair.left.lastProfileMismatch(pair.rightID) == nil)
    }

    @Test(arguments: cases) func mismatchIsForgottenWhenItEnds(_ this: Case) throws {
        let pair = try Pair(this.spoken, right: this.configured)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        // A replay says nothing new.
        #expect(
            pair.right.receive(initiation, from: .test(77), now: 2 * second)
                == .dropped(.replayedTimestamp))
        #expect(pair.right.lastProfileMismatch(pair.leftID)?.noticedAt == .test(second))
        pair.left.setProfile(pair.rightID, this.configured, now: 3 * second)
        _ = pair.left.actions.drain()
        _ = try pair.handshake(now: 10 * second)
        #expect(pair.right.lastProfileMismatch(pair.leftID) == nil)
        // Changing the other end instead does as well, and takes the old initiation for a replay
        // no more: it was never accepted.
        let other = try Pair(this.spoken, right: this.configured)
        let first = try other.left.initiate(other.rightID, now: second).orThrow()
        _ = other.right.receive(first, from: other.leftEndpoint, now: second)
        other.right.setProfile(other.leftID, this.spoken, now: 2 * second)
        _ = other.right.actions.drain()
        #expect(other.right.lastProfileMismatch(other.leftID) == nil)
        #expect(
            other.right.receive(first, from: other.leftEndpoint, now: 2 * second)
                == .accepted(other.leftID))
    }

    /// Only who has the peer's key makes status say something.
    @Test(arguments: cases) func forgedInitiationIsNoMismatch(_ this: Case) throws {
        let pair = try Pair(this.spoken, right: this.configured)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for offset in [initiation.count - 33, initiation.count - 60] {
            var forged = initiation
            forged[offset] ^= 1
            #expect(
                pair.right.receive(
                    sealedAnew(forged, pair.rightKey), from: .test(77), now: second)
                    == .dropped(.handshakeAuthenticationFailed))
        }
        #expect(pair.right.lastProfileMismatch(pair.leftID) == nil)
    }

    @Test(arguments: cases) func changedProfileEndsWhatThereWas(_ this: Case) throws {
        let pair = try Pair(this.spoken)
        let (left, right) = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        let initiation = try pair.left.initiate(pair.rightID, now: 10 * second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: 10 * second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        pair.left.setProfile(pair.rightID, this.configured, now: 11 * second)
        #expect(pair.left.actions.drain().names.contains("retire"))
        #expect(left.isRetired && !right.isRetired)
        #expect(!left.isUsableForReceiving(now: 11 * second))
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: 11 * second)
                == .dropped(.unknownReceiverIndex))
        #expect(pair.left.currentSession(pair.rightID) == nil)
        #expect(pair.left.indices.count == 0)
    }

    @Test(arguments: cases) func responseOfAnotherProfileIsRefused(_ this: Case) throws {
        // A responder whose operator changed its mind while the initiation was under way.
        let pair = try Pair(this.configured, right: this.spoken)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        let index = Array(initiation[4..<8])
        let helper = try Pair(this.spoken)
        let other = try helper.left.initiate(helper.rightID, now: second).orThrow()
        _ = helper.right.receive(other, from: helper.leftEndpoint, now: second)
        var response = try helper.right.actions.drain().handshake(.response).orThrow()
        response.replaceSubrange(8..<12, with: index)
        let isOfOneFamily = this.spoken.family == this.configured.family
        #expect(
            pair.left.receive(
                sealedAnew(response, pair.leftKey), from: pair.rightEndpoint, now: second)
                == .dropped(isOfOneFamily ? .handshakeAuthenticationFailed : .wrongProfile))
        #expect(pair.left.actions.isEmpty)
        // The initiation goes on waiting for the right one.
        pair.right.setProfile(pair.leftID, this.configured, now: second)
        _ = pair.right.actions.drain()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        let right = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(right, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
    }

    /// All the same but for the cipher: the transcripts differ from the first byte on.
    @Test func swappedCipherOpensNothing() throws {
        for profile in TunnelProfile.hybrids {
            let pair = try Pair(profile)
            let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
            _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
            let response = try pair.right.actions.drain().handshake(.response).orThrow()
            // The device believes the other cipher when the response comes.
            let peer = try pair.left.peer(pair.rightID).orThrow()
            peer.profile = profile == .branchlineAES ? .branchlineChaCha : .branchlineAES
            #expect(
                pair.left.receive(response, from: pair.rightEndpoint, now: second)
                    == .dropped(.handshakeAuthenticationFailed))
            peer.profile = profile
            #expect(
                pair.left.receive(response, from: pair.rightEndpoint, now: second)
                    == .accepted(pair.rightID))
        }
    }

    /// The bytes of one family under the type of the other.
    @Test(arguments: TunnelProfile.allCases)
    func relabelledMessagesAreRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        var relabelled = initiation
        relabelled[1] ^= 1
        for message in [relabelled, sealedAnew(relabelled, pair.rightKey)] {
            #expect(
                pair.right.receive(message, from: .test(9), now: second)
                    == .dropped(.wrongLength))
        }
        // Brought to the other's length, it is still another message.
        let other = profile.family == .wireguard ? 1_348 : 148
        var resized = Array(relabelled.prefix(other))
        resized += [UInt8](repeating: 0, count: other - resized.count)
        #expect(
            pair.right.receive(sealedAnew(resized, pair.rightKey), from: .test(9), now: second)
                == .dropped(.handshakeAuthenticationFailed))
        #expect(pair.right.actions.isEmpty)
    }

    /// An initiation without its encapsulation key, in all ways that have a length.
    @Test(arguments: TunnelProfile.hybrids)
    func strippedEncapsulationKeyIsRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        typealias Layout = WireGuardMessage.HybridInitiation
        let stripped =
            Array(initiation[..<Layout.encryptedEncapsulationKeyOffset])
            + Array(initiation[Layout.encryptedStaticOffset...])
        #expect(stripped.count == 148)
        #expect(
            pair.right.receive(
                sealedAnew(stripped, pair.rightKey), from: .test(9), now: second)
                == .dropped(.wrongLength))
        var stock = stripped
        stock[1] = 0
        #expect(
            pair.right.receive(sealedAnew(stock, pair.rightKey), from: .test(9), now: second)
                == .dropped(.handshakeAuthenticationFailed))
        var zeroed = initiation
        for offset in Layout.encryptedEncapsulationKeyOffset..<Layout.encryptedStaticOffset {
            zeroed[offset] = 0
        }
        #expect(
            pair.right.receive(sealedAnew(zeroed, pair.rightKey), from: .test(9), now: second)
                == .dropped(.handshakeAuthenticationFailed))
        #expect(pair.right.actions.isEmpty)
        #expect(pair.right.lastProfileMismatch(pair.leftID) == nil)
    }

    @Test(arguments: cases) func dataOfAnotherProfileIsRefused(_ this: Case) throws {
        let pair = try Pair(this.configured)
        let (left, right) = try pair.handshake(now: second)
        let message = left.sealed([0x45, 1, 2, 3], counter: 0)
        #expect(right.opened(message) == [0x45, 1, 2, 3])
        // The same keys under the other type, and the same type under the other cipher.
        let twin = Session(
            localIndex: left.localIndex, remoteIndex: left.remoteIndex, peer: 0,
            profile: this.spoken, isInitiator: true, createdAt: second, activity: PeerActivity(),
            sendKey: left.sendKey, receiveKey: left.receiveKey)
        let foreign = twin.sealed([0x45, 1, 2, 3], counter: 1)
        #expect(right.opened(foreign) == nil)
        let reason = ByteArena.withCopy(of: foreign) { right.refusal(of: $0) }
        #expect(
            reason
                == (this.spoken.family == this.configured.family
                    ? .authenticationFailed : .wrongProfile))
        let own = ByteArena.withCopy(of: message) { right.refusal(of: $0) }
        #expect(own == .authenticationFailed)
    }

    // MARK: Reflection, replay

    @Test(arguments: TunnelProfile.allCases)
    func reflectedMessagesAreRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.left.receive(initiation, from: pair.rightEndpoint, now: second)
                == .dropped(.invalidMAC1))
        #expect(
            pair.left.receive(
                sealedAnew(initiation, pair.leftKey), from: pair.rightEndpoint, now: second)
                == .dropped(.handshakeAuthenticationFailed))
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.right.receive(response, from: pair.leftEndpoint, now: second)
                == .dropped(.invalidMAC1))
        #expect(pair.left.actions.isEmpty && pair.right.actions.isEmpty)
    }

    @Test(arguments: TunnelProfile.allCases)
    func replayedMessagesAreRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        for now in [second, 500 * second] {
            #expect(
                pair.right.receive(initiation, from: .test(9), now: now)
                    == .dropped(.replayedTimestamp))
        }
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second)
                == .dropped(.responseWithoutInitiation))
        // The next handshake does not take the last one's response.
        _ = pair.left.actions.drain()
        let next = try pair.left.initiate(pair.rightID, now: 20 * second).orThrow()
        var old = response
        old.replaceSubrange(8..<12, with: next[4..<8])
        #expect(
            pair.left.receive(
                sealedAnew(old, pair.leftKey), from: pair.rightEndpoint, now: 20 * second)
                == .dropped(.handshakeAuthenticationFailed))
    }

    // MARK: Many peers

    /// Peers of all profiles in one device, each by its own.
    @Test func profilesLiveSideBySide() throws {
        let hub = WireGuardDevice(workerCount: 2, random: .seeded(1))
        let hubKey = PrivateKey.seeded(200)
        hub.setPrivateKey(hubKey, now: 0)
        for (number, profile) in (TunnelProfile.allCases + TunnelProfile.allCases).enumerated() {
            let key = PrivateKey.seeded(UInt8(10 + number))
            let device = WireGuardDevice(workerCount: 1, random: .seeded(UInt64(50 + number)))
            device.setPrivateKey(key, now: 0)
            let hubID = try device.addPeer(hubKey.publicKey, now: 0).orThrow()
            let id = try hub.addPeer(key.publicKey, now: 0).orThrow()
            device.setEndpoint(hubID, .test(1), now: 0)
            device.setProfile(hubID, profile, now: 0)
            hub.setProfile(id, profile, now: 0)
            _ = device.actions.drain()
            let initiation = try device.initiate(hubID, now: second).orThrow()
            #expect(hub.receive(initiation, from: .test(2), now: second) == .accepted(id))
            let answers = hub.actions.drain()
            let response = try answers.handshake(.response).orThrow()
            #expect(device.receive(response, from: .test(1), now: second) == .accepted(hubID))
            let near = try device.actions.drain().installed.orThrow()
            let far = try answers.installed.orThrow()
            #expect(near.profile == profile && far.profile == profile)
            #expect(far.opened(near.sealed([0x45], counter: 0)) == [0x45])
        }
        #expect(hub.peerCount == 6)
    }
}
