import Glibc

/// What a daemon puts right before it opens anything.
public enum ProcessSetup {
    /// Opens /dev/null in place of closed standard descriptors, so that no device or socket gets
    /// their numbers, and lets writes to a reader that has gone fail instead of ending the process.
    /// open, signal
    public static func prepare() {
        while true {
            let descriptor = unsafe open("/dev/null", O_RDWR)
            guard descriptor >= 0 else { break }
            if descriptor > STDERR_FILENO {
                _ = close(descriptor)
                break
            }
        }
        _ = signal(SIGPIPE, SIG_IGN)
    }
}
