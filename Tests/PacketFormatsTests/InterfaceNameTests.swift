import PacketFormats
import Testing

@Suite struct InterfaceNameTests {
    @Test(arguments: ["wg0", "a", "_=+.-", "...", "a-", "all0", "defaul", "123456789012345"])
    func nameOfWgQuickIsAccepted(_ name: String) {
        #expect(InterfaceName.fault(in: name) == nil)
    }

    @Test(arguments: [
        "", ".", "..", "a/b", "a b", "a\tb", "a:b", "wg%d", "nul\0", "1234567890123456", "ü",
        "$(id)", "a;b", "a'b", "all", "default", "-", "-q",
    ])
    func everyOtherNameIsRefusedWithAReason(_ name: String) {
        #expect(InterfaceName.fault(in: name)?.isEmpty == false)
    }
}
