import CSodium

/// The one initialisation of libsodium, which also selects its code for this CPU.
enum Sodium {
    private static let isReady: Bool = sodium_init() >= 0

    /// Initialises the library on the first call; costs one load afterwards.
    ///
    /// Traps where the system has no source of randomness: nothing could be encrypted safely then.
    @inline(__always)
    static func prepare() {
        precondition(isReady, "libsodium cannot be initialised")
    }

    static var version: String { unsafe String(cString: sodium_version_string()) }
}
