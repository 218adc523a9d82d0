import LinuxNetworking
public import PacketFormats

/// Looks names up on threads of their own: the system's resolver may take many seconds.
public enum NameLookup {
    /// - Returns: `nil` where there is no answer, or none yet.
    public static func endpoint(of name: String, port: UInt16) async -> Endpoint? {
        await withCheckedContinuation { waiting in
            do {
                // The thread ends by itself.
                _ = try WorkerThread.start(name: "lookup") { _ in
                    waiting.resume(returning: try? HostLookup.endpoint(of: name, port: port))
                }
            } catch {
                waiting.resume(returning: nil)
            }
        }
    }
}
