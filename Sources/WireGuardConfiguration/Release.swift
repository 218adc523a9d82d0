/// Which Branchline this is: the same for the daemon and for the command line that talks to it.
public enum Release {
    public static let version = "0.1.0"
}
