import PacketFormats
import WireGuardConfiguration

/// A peer that speaks another profile than it is configured for, and what to change.
struct WrongProfile: Encodable {
    let spoken: String
    let secondsAgo: UInt64
    /// One line that says what to change.
    let advice: String

    /// - Parameters:
    ///   - node: This node's name, where grants decide what is spoken.
    init(
        _ mismatch: EngineStatus.ProfileMismatch, of peer: String, configured: TunnelProfile,
        node: String?
    ) {
        spoken = mismatch.spoken.rawValue
        secondsAgo = mismatch.ageSeconds
        let (wanted, heard) = (Self.words(configured), Self.words(mismatch.spoken))
        guard let node else {
            advice = "\(peer) speaks \(heard), and is to speak \(wanted): put "
                + "\(configured.settingWords) into its [Peer] section for this end, or "
                + "\(mismatch.spoken.settingWords) into the section for it here"
            return
        }
        advice = "\(peer) speaks \(heard), and the grants of both ask for \(wanted): if it has "
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
