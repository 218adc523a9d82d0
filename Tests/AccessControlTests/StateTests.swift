import AccessControl
import PacketFormats
import TestSupport
import Testing

/// What passes because of what passed before.
@Suite struct StateTests {
    private static let port: UInt16 = 40_000

    private func question(_ flags: UInt8 = Packets.syn, _ port: UInt16 = port) -> [UInt8] {
        Packets.tcp(Net.plant, Net.model, port, 443, flags)
    }

    private func answer(_ flags: UInt8 = Packets.synAck, _ port: UInt16 = port) -> [UInt8] {
        Packets.tcp(Net.model, Net.plant, 443, port, flags)
    }

    @Test func answersPassAfterTheQuestionOnly() {
        let net = Net()
        #expect(!net.passes(answer()))
        #expect(net.passes(question()))
        #expect(net.passes(answer()))
        #expect(net.passes(answer(Packets.ack)))
        #expect(net.filter.state.count(now: net.now) == 1)
    }

    @Test func theServerOpensNothing() {
        let net = Net()
        #expect(net.passes(question()) && net.passes(answer()))
        #expect(!net.passes(answer(Packets.syn)), "the same ports, but a beginning")
        #expect(!net.passes(answer(Packets.ack, Self.port + 1)), "another port of the client")
        #expect(!net.passes(Packets.tcp(Net.model, Net.plant, 444, Self.port, Packets.ack)))
        #expect(!net.passes(Packets.tcp("10.9.0.6", Net.plant, 443, Self.port, Packets.ack)))
        #expect(!net.passes(Packets.udp(Net.model, Net.plant, 443, Self.port)))
        #expect(net.passes(answer(Packets.ack)), "the connection itself is not disturbed")
    }

    @Test func aDeniedQuestionMakesNoState() {
        let net = Net()
        #expect(!net.passes(Packets.tcp(Net.plant, Net.model, Self.port, 22)))
        #expect(!net.passes(Packets.tcp(Net.model, Net.plant, 22, Self.port, Packets.synAck)))
        #expect(net.filter.state.count(now: net.now) == 0)
    }

    @Test func answersPassInIPv6AndUDP() {
        let net = Net()
        #expect(net.passes(Packets.tcp(Net.plant6, Net.model6, 1, 443)))
        #expect(net.passes(Packets.tcp(Net.model6, Net.plant6, 443, 1, Packets.synAck)))
        #expect(!net.passes(Packets.tcp(Net.model6, Net.plant6, 443, 2, Packets.synAck)))
        #expect(!net.passes(Packets.udp(Net.headquarters, Net.plant, 53, 5_000)))
        #expect(net.passes(Packets.udp(Net.plant, Net.headquarters, 5_000, 53)))
        #expect(net.passes(Packets.udp(Net.headquarters, Net.plant, 53, 5_000)))
        #expect(!net.passes(Packets.udp(Net.headquarters, Net.plant, 54, 5_000)))
    }

    @Test(arguments: [(Net.plant, Net.headquarters), (Net.plant6, Net.model6)])
    func echoRepliesPassAndRequestsInwardsDoNot(from: String, to: String) {
        let net = Net()
        #expect(!net.passes(Packets.echo(to, from, 7, isAnswer: true)))
        #expect(net.passes(Packets.echo(from, to, 7)))
        #expect(net.passes(Packets.echo(to, from, 7, isAnswer: true)))
        #expect(!net.passes(Packets.echo(to, from, 8, isAnswer: true)))
        #expect(!net.passes(Packets.echo(to, from, 7)))
    }

    @Test func stateEndsWithSilence() {
        let net = Net()
        let udp = Packets.udp(Net.plant, Net.headquarters, 5_000, 53)
        let reply = Packets.udp(Net.headquarters, Net.plant, 53, 5_000)
        #expect(net.passes(udp))
        #expect(net.after(seconds: 59).passes(reply))
        #expect(!net.after(seconds: 59 + 60).passes(reply), "answered, but nothing went on")
        #expect(net.passes(question()) && net.passes(answer()) && net.passes(question(Packets.ack)))
        #expect(net.after(seconds: 86_399).passes(answer(Packets.ack)), "a stream's night")
        #expect(!net.after(seconds: 86_399 + 86_401).passes(answer(Packets.ack)))
    }

    @Test func aClosedConnectionEndsSoon() {
        let net = Net()
        #expect(net.passes(question()) && net.passes(answer()) && net.passes(question(Packets.ack)))
        #expect(net.passes(question(Packets.fin)))
        #expect(net.after(seconds: 599).passes(answer(Packets.ack)), "half closed")
        #expect(!net.after(seconds: 599 + 601).passes(answer(Packets.ack)))
        let reused = net.after(seconds: 2_000)
        #expect(reused.passes(question()) && reused.passes(answer()))
        #expect(reused.after(seconds: 119).passes(answer(Packets.ack)), "begun anew")
    }

    @Test func clocksOfWorkersMayDiffer() {
        let net = Net()
        #expect(net.after(seconds: 1).passes(question()))
        #expect(net.passes(answer()))
    }

    // MARK: - Change of rules

    @Test func aChangeCutsWhatItNoLongerAllowsAtOnce() {
        let net = Net()
        #expect(net.passes(question()) && net.passes(answer()))
        let narrowed = net.change([Net.rule("other", ["plants"], ["models"], .tcp, [8_000...8_000])])
        #expect(!narrowed.passes(question(Packets.ack)))
        #expect(!narrowed.passes(answer(Packets.ack)))
        #expect(!narrowed.passes(Packets.error(Net.model, about: question())))
        let widened = narrowed.change(Net.rules)
        #expect(widened.passes(answer(Packets.ack)), "what comes back goes on")
    }

    @Test func aChangeLeavesOthersAlone() {
        let net = Net()
        #expect(net.passes(question()) && net.passes(answer()))
        let changed = net.change(Array(Net.rules.reversed()))
        #expect(changed.passes(answer(Packets.ack)), "the server speaks first after the change")
    }

    @Test func aChangeOfGroupsCutsToo() {
        let net = Net()
        #expect(net.passes(question()) && net.passes(answer()))
        var rules = net.filter.rules
        for index in rules.members.indices where rules.members[index].groups == ["plants"] {
            rules.members[index].groups = ["guests"]
        }
        var moved = net
        moved.filter = AccessFilter(rules, continuing: net.filter)
        #expect(!moved.passes(answer(Packets.ack)) && !moved.passes(question(Packets.ack)))
    }

    // MARK: - After a restart

    @Test func aYoungTableTakesStreamsUpFromTheirAnswers() {
        let net = Net(mayPickUp: true)
        #expect(net.passes(answer(Packets.ack)))
        #expect(net.after(seconds: 1).passes(question(Packets.ack)))
        #expect(net.after(seconds: 1_000).passes(answer(Packets.ack)), "and keeps them")
        #expect(!net.passes(answer(Packets.syn, 1)), "no beginnings")
        #expect(!net.passes(answer(Packets.synAck, 2)))
        #expect(!net.passes(answer(Packets.rst, 3)))
        #expect(!net.passes(Packets.tcp(Net.model, Net.plant, 22, Self.port, Packets.ack)))
        #expect(!net.passes(Packets.udp(Net.headquarters, Net.plant, 53, 5_000)), "no UDP")
    }

    @Test func anOldTableDoesNot() {
        #expect(!Net().passes(answer(Packets.ack)))
    }

    // MARK: - Both directions

    @Test func whereBothMayOpenBothAreOneConnection() {
        let rules = AccessRules(
            members: Net.members, services: [], rules: [Net.rule("all", ["*"], ["*"], nil, [])])
        let net = Net(rules)
        for _ in 0..<3 {
            #expect(net.passes(question()) && net.passes(answer()))
        }
        #expect(net.filter.state.count(now: net.now) == 1)
        let oneWay = net.change([Net.rule("one", ["plants"], ["hq"], nil, [])])
        #expect(oneWay.passes(answer(Packets.ack)))
        let otherWay = net.change([Net.rule("other", ["hq"], ["plants"], nil, [])])
        #expect(otherWay.passes(question(Packets.ack)), "it had been open that way, too")
    }

    // MARK: - Floods

    @Test func aFloodOfNewFlowsLeavesEstablishedOnes() {
        let net = Net(capacity: 1_024)
        let count: UInt16 = 100
        for port in 0..<count {
            #expect(net.passes(question(Packets.syn, port)))
            #expect(net.passes(answer(Packets.synAck, port)))
            #expect(net.passes(question(Packets.ack, port)))
        }
        for round: UInt64 in 0..<20 {
            let later = net.after(seconds: round)
            for port in 0..<5_000 { _ = later.passes(question(Packets.syn, 1_000 + UInt16(port))) }
        }
        let later = net.after(seconds: 20)
        for port in 0..<count { #expect(later.passes(answer(Packets.ack, port)), "\(port)") }
    }

    @Test func aFloodThatIsAnsweredLeavesEstablishedOnesToo() {
        let net = Net(capacity: 64)
        #expect(net.passes(question()) && net.passes(answer()) && net.passes(question(Packets.ack)))
        for port: UInt16 in 1_000..<3_000 {
            #expect(net.passes(question(Packets.syn, port)))
            _ = net.passes(answer(Packets.synAck, port))
        }
        #expect(net.passes(answer(Packets.ack)))
    }

    @Test func aNewcomerIsAnsweredInTheMiddleOfAFlood() {
        var net = Net(capacity: 1_024)
        var answered = 0
        for port: UInt16 in 0..<200 {
            #expect(net.passes(question(Packets.syn, port)))
            for flood: UInt16 in 0..<100 {
                net.now += Net.second / 100
                _ = net.passes(question(Packets.syn, 10_000 + port * 100 + flood))
            }
            if net.passes(answer(Packets.synAck, port)) { answered += 1 }
        }
        #expect(answered > 190)
    }

    @Test func aTableFullOfConversationsRefusesAndSaysSo() {
        let net = Net(capacity: 64)
        for port: UInt16 in 0..<2_000 {
            #expect(net.passes(question(Packets.syn, port)), "questions pass in any case")
            _ = net.passes(answer(Packets.synAck, port))
            _ = net.passes(question(Packets.ack, port))
        }
        #expect(net.filter.state.refusedCount > 0)
        #expect(net.filter.state.count(now: net.now) == 64)
        let later = net.after(seconds: 601)
        #expect(later.passes(question(Packets.syn, 5_000)))
        #expect(later.passes(answer(Packets.synAck, 5_000)), "the silent ones give way")
    }

    @Test func othersStateIsNotHitByChance() {
        let net = Net(capacity: 64)
        for port: UInt16 in 0..<60 { _ = net.passes(question(Packets.syn, port)) }
        var passed = 0
        for port: UInt16 in 100..<60_000 where net.passes(answer(Packets.ack, port)) { passed += 1 }
        #expect(passed == 0)
    }

    @Test func whatIsOverStaysOverWhenTheClockOfEntriesComesRound() {
        let net = Net()
        #expect(net.passes(question()))
        net.filter.state.forgetEnded(now: net.now)
        #expect(net.filter.state.count(now: net.now) == 1, "it has just begun")
        let day: UInt64 = 86_400
        for days: UInt64 in [1, 2, 3] {
            #expect(!net.after(seconds: days * day).passes(answer()), "\(days) days later")
        }
        let later = net.after(seconds: day)
        later.filter.state.forgetEnded(now: later.now)
        // 2^21 eighths of a second: the clock shows what it showed.
        #expect(!net.after(seconds: 1 << 18).passes(answer()))
    }

    @Test func workersShareTheState() async {
        let net = Net(capacity: 1 << 14)
        await withTaskGroup(of: Int.self) { group in
            for worker: UInt16 in 0..<4 {
                group.addTask {
                    var lost = 0
                    for port: UInt16 in 0..<500 {
                        let own = worker * 1_000 + port
                        _ = net.passes(self.question(Packets.syn, own))
                        _ = net.passes(self.question(Packets.syn, 9_000))
                        if !net.passes(self.answer(Packets.synAck, own)) { lost += 1 }
                        if !net.passes(self.answer(Packets.ack, 9_000)) { lost += 1 }
                    }
                    return lost
                }
            }
            for await lost in group { #expect(lost == 0) }
        }
    }
}
