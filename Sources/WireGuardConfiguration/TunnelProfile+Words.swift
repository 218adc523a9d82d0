public import PacketFormats

/// The words for profiles in configuration files and in what the command line prints.
extension TunnelProfile {
    /// What stands after `Profile =`.
    public var profileWord: String {
        switch self {
        case .wireguard: "wireguard"
        case .branchlineChaCha, .branchlineAES: "branchline"
        }
    }

    /// What stands after `Cipher =`, which only the profile `branchline` has.
    public var cipherWord: String {
        switch self {
        case .wireguard, .branchlineChaCha: "ChaCha20-Poly1305"
        case .branchlineAES: "AES-256-GCM"
        }
    }

    /// The lines of a `[Peer]` section that ask for the profile, as they stand in a sentence.
    public var settingWords: String {
        switch self {
        case .wireguard: "Profile = wireguard"
        case .branchlineChaCha, .branchlineAES: "Profile = branchline, Cipher = \(cipherWord)"
        }
    }
}
