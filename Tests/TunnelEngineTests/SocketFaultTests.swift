import LinuxNetworking
import Testing

@testable import TunnelEngine

@Suite struct SocketFaultTests {
    @Test func pausesDoubleUpToHalfAMinute() {
        var fault: SocketFault?
        var pauses: [UInt64] = []
        for _ in 0..<8 {
            let next = SocketFault(.portInUse(51_820), after: fault, now: 7)
            pauses.append((next.retryAt - 7) / 1_000_000_000)
            fault = next
        }
        #expect(pauses == [1, 2, 4, 8, 16, 30, 30, 30])
        #expect(fault?.reason.contains("51820") == true)
    }
}
