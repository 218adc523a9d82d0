import PacketFormats
import Testing

/// Code points as people write them.
@Suite struct DSCPNameTests {
    @Test(arguments: [
        ("AF21", 18), ("af21", 18), ("EF", 46), ("CS6", 48), ("LE", 1), ("DF", 0), ("CS0", 0),
        ("voice-admit", 44), ("0", 0), ("46", 46), ("63", 63), ("07", 7),
    ] as [(String, UInt8)])
    func namesAndNumbersAreRead(_ text: String, _ value: UInt8) {
        #expect(DSCP(name: text)?.rawValue == value)
    }

    @Test(arguments: ["", "64", "-1", "046", "AF24", "AF", "CS8", "1.5", " 1", "0x10", "٣"])
    func whatIsNoCodePointIsRefused(_ text: String) {
        #expect(DSCP(name: text) == nil)
    }

    @Test func everyCodePointIsReadAsItIsWritten() {
        for value in UInt8(0)...63 {
            let mark = DSCP(rawValue: value)
            #expect(mark.flatMap { DSCP(name: $0.name) } == mark)
        }
        #expect(DSCP(rawValue: 0)?.name == "DF")
        #expect(DSCP(rawValue: 3)?.name == "3")
    }
}
