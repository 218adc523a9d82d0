import ControlModel
import PacketFormats
import Testing

@Suite struct HealthTargetTests {
    @Test(arguments: [
        "icmp:10.0.0.5", "icmp:fd00::5", "tcp:10.0.0.5:443", "tcp:[fd00::5]:65535",
        "tcp:10.0.0.5:1",
    ])
    func textComesBack(_ text: String) {
        #expect(HealthTarget(text)?.description == text)
    }

    @Test func notationIsMadeOne() {
        #expect(HealthTarget("icmp:FD00:0::5")?.description == "icmp:fd00::5")
    }

    @Test(arguments: [
        "", "icmp", "icmp:", "icmp:10.0.0", "icmp:10.0.0.5:1", "icmp:[fd00::5]", "tcp:10.0.0.5",
        "tcp:10.0.0.5:0", "tcp:10.0.0.5:65536", "tcp:fd00::5:443", "tcp:[fe80::1%3]:443",
        "tcp:hq.example:443", "udp:10.0.0.5:53", "ICMP:10.0.0.5", "icmp: 10.0.0.5",
        "icmp:127.0.0.1", "icmp:0.0.0.0", "icmp:224.0.0.1", "icmp:255.255.255.255", "icmp:::",
        "icmp:::1", "icmp:ff02::1", "icmp:fe80::1", "icmp:169.254.0.1",
    ])
    func anythingElseIsNone(_ text: String) {
        #expect(HealthTarget(text) == nil)
    }

    @Test func whatDoesNotFitIsAsIfUnsaid() {
        func preference(_ priority: Int64?, _ weight: Int64?, _ health: [String]?)
            -> GatewayPreference
        {
            GatewayPreference(
                of: .init(
                    node: "", name: "", chain: "", endpoint: nil, priority: priority,
                    weight: weight, health: health))
        }
        #expect(preference(nil, nil, nil) == GatewayPreference())
        #expect(preference(-1, 1_001, ["x"]) == GatewayPreference())
        #expect(preference(65_536, -1, []) == GatewayPreference())
        let known = preference(0, 1_000, ["x", "icmp:10.0.0.5"])
        #expect(known.priority == 0 && known.weight == 1_000 && known.health.count == 1)
        let many = preference(nil, nil, (0..<100).map { "icmp:10.0.0.\($0)" })
        #expect(many.health.count == GatewayPreference.targetsMax)
    }
}
