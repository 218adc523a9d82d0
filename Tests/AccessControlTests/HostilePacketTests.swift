import AccessControl
import PacketFormats
import TestSupport
import Testing

/// ICMP errors, fragments, and packets made to look like what they are not.
@Suite struct HostilePacketTests {
    private let question = Packets.tcp(Net.plant, Net.model, 40_000, 443)
    private let question6 = Packets.tcp(Net.plant6, Net.model6, 40_000, 443)

    // MARK: - ICMP errors

    @Test func errorsPassAboutWhatWasSent() {
        let net = Net()
        #expect(!net.passes(Packets.error(Net.model, about: question)))
        #expect(net.passes(question) && net.passes(question6))
        for type: UInt8 in [3, 11, 12] {
            #expect(net.passes(Packets.error(Net.model, about: question, type: type)))
        }
        for type: UInt8 in 1...4 {
            #expect(net.passes(Packets.error(Net.model6, about: question6, type: type)))
        }
        #expect(net.passes(Packets.error(Net.headquarters, about: question)), "a router on the way")
        #expect(net.passes(Packets.error(Net.model, about: question, quoted: 28)))
        #expect(!net.passes(Packets.error(Net.model, about: question, quoted: 27)))
    }

    @Test func errorsAboutAnswersPassToWhoeverGaveThem() {
        let net = Net().change([Net.rules[0]])
        let answer = Packets.tcp(Net.model, Net.plant, 443, 40_000, Packets.synAck)
        #expect(net.passes(question) && net.passes(answer))
        #expect(net.passes(Packets.error(Net.plant, about: answer)))
        let stranger = Packets.tcp(Net.model, Net.plant, 443, 40_001, Packets.synAck)
        #expect(!net.passes(Packets.error(Net.plant, about: stranger)))
    }

    @Test func otherErrorsDoNot() {
        let net = Net()
        #expect(net.passes(question))
        let other = Packets.tcp(Net.plant, Net.model, 40_001, 443)
        #expect(!net.passes(Packets.error(Net.model, about: other)), "never sent")
        #expect(!net.passes(Packets.error(Net.model, about: question, type: 5)), "a redirect")
        #expect(!net.passes(Packets.error(Net.model, about: question, type: 4)), "a quench")
        #expect(!net.passes(Packets.error(Net.model6, about: question6, type: 137)))
        var toAnother = Packets.error(Net.model, about: question)
        toAnother.replaceSubrange(16..<20, with: Packets.address(Net.office))
        #expect(!net.passes(toAnother), "to somebody who did not send it")
        var laterPiece = question
        laterPiece[7] = 1
        #expect(!net.passes(Packets.error(Net.model, about: laterPiece)))
        var otherVersion = question
        otherVersion[0] = 0x65
        #expect(!net.passes(Packets.error(Net.model, about: otherVersion)))
        var longHeader = question
        longHeader[0] = 0x4f
        #expect(!net.passes(Packets.error(Net.model, about: longHeader, quoted: 40)))
    }

    @Test func errorsAboutPingsPass() {
        let net = Net()
        let ping = Packets.echo(Net.plant, Net.headquarters, 9)
        #expect(net.passes(ping))
        #expect(net.passes(Packets.error(Net.headquarters, about: ping)))
        let other = Packets.echo(Net.plant, Net.headquarters, 10)
        #expect(!net.passes(Packets.error(Net.headquarters, about: other)))
    }

    // MARK: - Fragments

    /// Pieces of one packet in 8-byte steps.
    private func piece(
        _ packet: [UInt8], offset: UInt16, isLast: Bool, number: UInt16 = 77
    ) -> [UInt8] {
        var piece = packet
        piece.replaceSubrange(4..<6, with: PacketBuilder.big(number))
        piece.replaceSubrange(6..<8, with: PacketBuilder.big(offset / 8 | (isLast ? 0 : 0x2000)))
        return piece
    }

    private var datagram: [UInt8] {
        Packets.builder(.udp4, Net.plant, Net.headquarters, 5_000, 53)
            .with { $0.payload = PacketBuilder.pattern(64) }.bytes
    }

    @Test func laterFragmentsPassAfterTheirFirst() {
        let net = Net()
        let later = piece(datagram, offset: 64, isLast: true)
        #expect(!net.passes(later))
        #expect(net.passes(piece(datagram, offset: 0, isLast: false)))
        #expect(net.passes(later))
        #expect(!net.passes(piece(datagram, offset: 64, isLast: true, number: 78)))
        var fromAnother = later
        fromAnother.replaceSubrange(12..<16, with: Packets.address(Net.office))
        #expect(!net.passes(fromAnother))
        #expect(!net.after(seconds: 61).passes(later))
    }

    @Test func aDeniedFirstFragmentTakesTheOthersWithIt() {
        let net = Net()
        let denied = Packets.builder(.udp4, Net.plant, Net.model, 5_000, 54)
            .with { $0.payload = PacketBuilder.pattern(64) }.bytes
        #expect(!net.passes(piece(denied, offset: 0, isLast: false)))
        #expect(!net.passes(piece(denied, offset: 64, isLast: true)))
    }

    @Test func fragmentsOfAnswersPass() {
        let net = Net()
        #expect(net.passes(datagram))
        let answer = Packets.builder(.udp4, Net.headquarters, Net.plant, 53, 5_000)
            .with { $0.payload = PacketBuilder.pattern(64) }.bytes
        #expect(net.passes(piece(answer, offset: 0, isLast: false)))
        #expect(net.passes(piece(answer, offset: 64, isLast: true)))
    }

    @Test func aFirstFragmentBringsItsWholeHeader() {
        let net = Net()
        let whole = piece(question, offset: 0, isLast: false)
        #expect(net.passes(whole))
        for count in 20..<40 {
            var short = Array(whole.prefix(count))
            short.replaceSubrange(2..<4, with: PacketBuilder.big(UInt16(count)))
            #expect(!net.passes(short), "\(count)")
        }
        #expect(net.passes(piece(question, offset: 16, isLast: true)))
        #expect(!net.passes(piece(question, offset: 8, isLast: true)), "over the TCP flags")
    }

    @Test func fragmentsPassInIPv6() {
        let net = Net()
        func piece(_ offset: UInt16, isLast: Bool, number: UInt8 = 9) -> [UInt8] {
            Packets.builder(.tcp6, Net.plant6, Net.model6, 40_000, 443).with {
                $0.extensionHeaders = [
                    (44, [0] + PacketBuilder.big(offset | (isLast ? 0 : 1)) + [0, 0, 0, number])
                ]
            }.bytes
        }
        #expect(!net.passes(piece(64, isLast: true)))
        #expect(net.passes(piece(0, isLast: false)))
        #expect(net.passes(piece(64, isLast: true)))
        #expect(!net.passes(piece(64, isLast: true, number: 10)))
    }

    /// One that is allowed and never arrives must not vouch for another with its number.
    @Test(arguments: [0, 7, 9, 12]) func aFirstFragmentHidesNoTransport(options: Int) {
        let net = Net()
        func first(_ port: UInt16, options: Int) -> [UInt8] {
            Packets.builder(.tcp6, Net.plant6, Net.model6, 40_000, port).with {
                $0.extensionHeaders = [(44, [0, 0, 1, 0, 0, 0, 9])]
                    + (0..<options).map { _ in (60, [0, 1, 4, 0, 0, 0, 0]) }
            }.bytes
        }
        #expect(net.passes(first(443, options: 0)))
        #expect(!net.passes(first(22, options: options)))
    }

    // MARK: - Detours

    @Test(arguments: [131, 137] as [UInt8])
    func aRouteOfTheSendersChoiceIsDenied(option: UInt8) {
        let net = Net()
        func packet(_ options: [UInt8]) -> [UInt8] {
            Packets.builder(.tcp4, Net.plant, Net.model, 40_000, 443).with {
                $0.ipOptions = options
            }.bytes
        }
        #expect(net.passes(packet([1, 1, 1, 0])))
        #expect(net.passes(packet([148, 4, 0, 0])), "router alert")
        #expect(!net.passes(packet([option, 7, 4, 10, 64, 0, 3, 0])))
        #expect(!net.passes(packet([1, option, 7, 4, 10, 64, 0, 3])))
        #expect(!net.passes(packet([148, 0, 0, 0])), "an option without a length")
        #expect(!net.passes(packet([148, 9, 0, 0])), "one beyond the header")
    }

    @Test(arguments: [0, 2, 4] as [UInt8])
    func aRoutingHeaderWithPlacesLeftIsDenied(type: UInt8) {
        let net = Net()
        func packet(left: UInt8) -> [UInt8] {
            Packets.builder(.tcp6, Net.plant6, Net.model6, 40_000, 443).with {
                $0.extensionHeaders = [
                    (60, [0, 1, 4, 0, 0, 0, 0]),
                    (43, [2, type, left, 0, 0, 0, 0] + Packets.address("fd00:64::3")),
                ]
            }.bytes
        }
        #expect(net.passes(packet(left: 0)))
        #expect(!net.passes(packet(left: 1)))
    }

    @Test func aLaterFragmentDoesNotHideItsRoutingHeader() {
        let net = Net()
        func piece(_ offset: UInt16, isLast: Bool, left: UInt8) -> [UInt8] {
            Packets.builder(.tcp6, Net.plant6, Net.model6, 40_000, 443).with {
                $0.extensionHeaders = [
                    (43, [2, 4, left, 0, 0, 0, 0] + Packets.address("fd00:64::3")),
                    (44, [0] + PacketBuilder.big(offset | (isLast ? 0 : 1)) + [0, 0, 0, 9]),
                ]
            }.bytes
        }
        #expect(net.passes(piece(0, isLast: false, left: 0)))
        var later = piece(64, isLast: true, left: 0)
        #expect(net.passes(later))
        later = piece(64, isLast: true, left: 1)
        #expect(!net.passes(later))
        // Its protocol, which nobody looks at, is that of the first extension header.
        later[40 + 24] = 43
        #expect(!net.passes(later))
    }

    @Test func endlessExtensionHeadersAreDenied() {
        let net = Net()
        func packet(_ count: Int) -> [UInt8] {
            Packets.builder(.tcp6, Net.plant6, Net.model6, 40_000, 443).with {
                $0.extensionHeaders = (0..<count).map { _ in (60, [0, 1, 4, 0, 0, 0, 0]) }
            }.bytes
        }
        #expect(net.passes(packet(8)))
        #expect(!net.passes(packet(12)))
    }

    // MARK: - Anything

    @Test func anyBytesAreJudgedWithoutATrap() {
        let net = Net()
        var random = SeededGenerator(seed: 4)
        let bases = [
            question, question6, datagram, Packets.error(Net.model, about: question),
            Packets.error(Net.model6, about: question6), piece(datagram, offset: 0, isLast: false),
        ]
        for _ in 0..<30_000 {
            var packet = bases.randomElement(using: &random)!
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let place = Int.random(in: 0..<packet.count, using: &random)
                packet[place] = UInt8.random(in: 0...255, using: &random)
            }
            packet.removeLast(Int.random(in: 0...min(packet.count - 1, 40), using: &random))
            if packet[0] >> 4 == 4, packet.count >= 4 {
                packet.replaceSubrange(2..<4, with: PacketBuilder.big(UInt16(packet.count)))
            } else if packet.count >= 40 {
                packet.replaceSubrange(4..<6, with: PacketBuilder.big(UInt16(packet.count - 40)))
            }
            _ = net.judge(packet)
        }
    }

    /// Whatever a server sends, nothing passes that nobody asked for.
    @Test func nothingPassesUnasked() {
        let net = Net()
        var random = SeededGenerator(seed: 5)
        for round in 0..<20_000 {
            var packet = Packets.tcp(Net.model, Net.plant, 443, 40_000, 0)
            for _ in 0..<4 {
                let place = Int.random(in: 20..<packet.count, using: &random)
                packet[place] = UInt8.random(in: 0...255, using: &random)
            }
            packet[9] = UInt8.random(in: 0...255, using: &random)
            packet.replaceSubrange(6..<8, with: random.bytes(2))
            #expect(!net.passes(packet), "round \(round)")
        }
    }
}
