public import ControlModel

/// A local QoS file that is looked at now and then.
public struct LocalQoS: Sendable {
    private let file: QoSFile
    private var contents: [UInt8]?
    /// What counts: the newest that was sound, or nothing where the file is gone.
    public private(set) var policy: QoSPolicy?
    /// Why what is in the file now does not count.
    public private(set) var fault: String?

    public init(_ file: QoSFile) { self.file = file }

    /// - Returns: Whether policy or fault are not what they were.
    public mutating func look() -> Bool {
        let old = (policy, fault)
        do throws(QoSFileFault) {
            let now = try file.contents()
            guard now != contents || now == nil else { return false }
            contents = now
        } catch {
            contents = nil
            fault = "\(error)"
            return old != (policy, fault)
        }
        do throws(QoSFileFault) {
            policy = try contents.map { (bytes) throws(QoSFileFault) in try file.policy(bytes) }
            fault = nil
        } catch {
            fault = "\(error)"
        }
        return old != (policy, fault)
    }
}
