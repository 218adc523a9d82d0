internal import PacketFormats

/// `Profile` and `Cipher` of a `[Peer]` section, in whichever order they come.
struct ProfileSettings {
    private var isBranchline: Bool?
    /// The profile `branchline` with this cipher, and where the file asks for it.
    private var cipher: (profile: TunnelProfile, line: Int)?

    mutating func readProfile(_ setting: Setting) throws(WireGuardFileError) {
        switch setting.value.lowercased() {
        case TunnelProfile.wireguard.profileWord: isBranchline = false
        case TunnelProfile.branchlineAES.profileWord: isBranchline = true
        default:
            throw setting.refused(
                "Profile",
                accepted: "wireguard, or branchline where both ends are branchlined and say so")
        }
    }

    mutating func readCipher(_ setting: Setting) throws(WireGuardFileError) {
        let named = Self.branchline.first {
            $0.cipherWord.lowercased() == setting.value.lowercased()
        }
        guard let named else {
            let words = Self.branchline.map(\.cipherWord).joined(separator: " or ")
            throw setting.refused("Cipher", accepted: "\(words), the same at both ends")
        }
        cipher = (named, setting.line)
    }

    /// - Returns: `nil` where the section does not say.
    /// - Throws: Where it asks for a cipher that its profile cannot have.
    func profile() throws(WireGuardFileError) -> TunnelProfile? {
        guard isBranchline != true else { return cipher?.profile ?? .branchlineAES }
        if let cipher {
            throw WireGuardFileError(
                line: cipher.line, key: "Cipher",
                reason: isBranchline == nil
                    ? "stands in a [Peer] without a Profile, which speaks WireGuard with its one "
                        + "cipher"
                    : "contradicts Profile = wireguard, which has one cipher",
                accepted: "Profile = branchline in the same [Peer], or no Cipher")
        }
        return isBranchline.map { _ in .wireguard }
    }

    private static let branchline: [TunnelProfile] = [.branchlineAES, .branchlineChaCha]
}
