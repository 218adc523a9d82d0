import Cryptography
import PacketFormats
import WireGuardConfiguration

/// A peer that speaks another profile than it is configured for, and what to change.
struct WrongProfile: Encodable {
    let spoken: String
    let secondsAgo: UInt64
    /// One line that says what to change.
    let advice: String

    /// - Parameters:
    ///   - name: The peer's, in a joined network.
    ///   - node: This node's name, where grants decide what is spoken.
    /// - Returns: `nil` for a peer that speaks what it is configured for, as far as is known.
    init?(
        _ peer: PeerStatus, _ health: EngineStatus.PeerHealth?, name: String?, node: String?
    ) {
        guard let mismatch = health?.mismatch else { return nil }
        spoken = mismatch.spoken.rawValue
        secondsAgo = mismatch.ageSeconds
        let (wanted, heard) = (Self.words(peer.profile), Self.words(mismatch.spoken))
        let who = name ?? String(peer.publicKey.base64.prefix(10))
        guard let node else {
            advice = "\(who) speaks \(heard), and is to speak \(wanted): put "
                + "\(peer.profile.settingWords) into its [Peer] section for this end, or "
                // An old message that somebody sends again is to talk nobody into less.
                + (mismatch.spoken == .wireguard ? "only if it can speak nothing better " : "")
                + "\(mismatch.spoken.settingWords) into the section for it here"
            return
        }
        advice = "\(who) speaks \(heard), and the grants of both ask for \(wanted): if it has "
            + "joined, it or \(node) has not seen the newest grants, look at the coordinator in "
            + "both nodes' `branchline status`"
            + (mismatch.spoken == .wireguard
                ? "; a plain WireGuard client cannot come in here" : "")
    }

    /// With how old the news is.
    var line: String {
        Text.line("wrong profile: \(advice) (\(Text.shortDuration(seconds: secondsAgo)) ago)")
    }

    private static func words(_ profile: TunnelProfile) -> String {
        profile == .wireguard
            ? profile.profileWord : "\(profile.profileWord) with \(profile.cipherWord)"
    }
}
