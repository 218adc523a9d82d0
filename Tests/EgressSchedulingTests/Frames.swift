import PacketFormats

@testable import EgressScheduling

/// A frame of the class that most tests are about, which takes as much of a line as it has bytes.
func bulk(_ slot: Int32, of tenant: Int, flow: UInt32, _ byteCount: Int) -> EgressFrame {
    frame(slot, .bulk, of: tenant, flow: flow, byteCount)
}

func frame(
    _ slot: Int32, _ trafficClass: TrafficClass, of tenant: Int = 0, path: Int32 = -1,
    flow: UInt32, _ byteCount: Int
) -> EgressFrame {
    EgressFrame(
        slot: slot, tenant: tenant, path: path, trafficClass: trafficClass, flow: flow,
        byteCount: byteCount, wireByteCount: byteCount)
}

extension TenantQueues {
    /// Frames of one tenant that wait.
    func count(of tenant: Int) -> Int { isPresent(tenant) ? tenants[tenant].count : 0 }

    /// Their bytes.
    func byteCount(of tenant: Int) -> Int { isPresent(tenant) ? tenants[tenant].byteCount : 0 }
}
