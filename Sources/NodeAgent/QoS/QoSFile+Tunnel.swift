import ControlModel
public import Logging
public import TunnelEngine
import WireGuardConfiguration

extension QoSFile {
    /// Has a tunnel without an agent begin with what the file says, or without it where there is
    /// no file or a wrong one, which is logged.
    public func bringInForce(by control: TunnelControl, log: Logger) {
        let path = path
        do throws(QoSFileFault) {
            guard let policy = try read() else { return }
            if policy.minimumRate != nil || policy.maximumRate != nil {
                log.warning("\(path): minimum_rate and maximum_rate count on gateways only")
            }
            let settings = QoSSettings(policy: nil, local: policy)
            Task.detached {
                do throws(TunnelControlError) {
                    try await control.setQoS(settings)
                } catch {
                    log.error("\(path): the tunnel did not take it: \(error)")
                }
            }
        } catch {
            log.error("\(error)")
        }
    }
}
