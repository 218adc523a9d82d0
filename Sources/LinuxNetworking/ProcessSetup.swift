import CLinux
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

    /// Leaves no core file behind: memory has keys and traffic. The pages of keys are in no dump
    /// anyway, whoever makes it. setrlimit
    public static func forbidCoreFiles() {
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    }

    /// Sets what ps(1) and ss(8) call the process, which a copy that was started by /proc/self/exe
    /// does not have from its file. Call it on the first thread. prctl
    ///
    /// - Parameter name: Cut to 15 bytes.
    public static func setName(_ name: String) {
        _ = unsafe clinux_set_thread_name(String(name.prefix(15)))
    }

    /// Lets the process open as many descriptors as it is allowed to ask for. setrlimit
    public static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard unsafe getrlimit(descriptorResource, &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(descriptorResource, &limit)
    }

    /// How many more descriptors the process can open. getrlimit
    public static var descriptorsLeft: Int {
        var limit = rlimit()
        guard unsafe getrlimit(descriptorResource, &limit) == 0 else { return .max }
        // The one that the folder is read by is among them.
        let open = PrivateFolder.entries("/proc/self/fd").count - 1
        return open < 0 ? 0 : max(Int(clamping: limit.rlim_cur) - open, 0)
    }

    private static var descriptorResource: __rlimit_resource_t {
        __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    }

    /// getpid
    public static var processID: Int32 { getpid() }
}
