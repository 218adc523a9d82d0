import EgressScheduling
import PacketFormats
import Testing

@Suite struct MarkingRulesTests {
    private static let ef = DSCP(trafficClass: 46 << 2)

    /// RFC 2983, section 3: the pipe model hides what is inside, the uniform model shows it.
    @Test(arguments: ECN.allCases)
    func theOuterCodePointFollowsTheRules(ecn: ECN) {
        let off = MarkingRules()
        let byClass = MarkingRules(outer: .byClass, classMarks: [.prompt: .af31])
        let copy = MarkingRules(outer: .copy)
        for trafficClass in TrafficClass.allCases {
            func byte(_ rules: MarkingRules) -> UInt8 {
                rules.outerTrafficClass(inner: Self.ef, trafficClass: trafficClass, ecn: ecn)
            }
            #expect(byte(off) == ecn.rawValue)
            #expect(byte(copy) == 46 << 2 | ecn.rawValue)
            let mark =
                trafficClass == .prompt ? DSCP.af31 : MarkingRules.standardMark(of: trafficClass)
            #expect(byte(byClass) == mark.rawValue << 2 | ecn.rawValue)
        }
    }

    @Test func standardMarksAreThoseOfManagedNetworks() {
        let marks: [TrafficClass: UInt8] = [
            .control: 48, .token: 18, .activation: 26, .prompt: 10, .bulk: 12, .background: 1,
        ]
        for (trafficClass, value) in marks {
            #expect(MarkingRules.standardMark(of: trafficClass).rawValue == value)
        }
    }

    @Test func theInnerCodePointIsWrittenOnlyWherePolicySays() {
        #expect(MarkingRules(outer: .byClass).innerDSCP(of: .token) == nil)
        let rules = MarkingRules(classMarks: [.token: Self.ef], marksInner: true)
        #expect(rules.innerDSCP(of: .token) == Self.ef)
        #expect(rules.innerDSCP(of: .background) == .le)
    }

    /// Whatever a branch marks, it claims no more than its ceiling.
    @Test func everyCodePointIsHeldToTheCeiling() {
        let rules = MarkingRules()
        for value in 0..<64 as Range<UInt8> {
            let dscp = DSCP(trafficClass: value << 2)
            for ceiling in TrafficClass.allCases {
                let clamped = rules.clamped(dscp, to: ceiling)
                let claim = rules.claim(of: clamped)
                #expect(claim ?? .background >= ceiling, "\(value) under \(ceiling.name)")
                #expect(rules.clamped(clamped, to: ceiling) == clamped)
                if let honest = rules.claim(of: dscp), honest >= ceiling {
                    #expect(clamped == dscp, "\(value) is within \(ceiling.name)")
                }
            }
        }
    }

    /// What is believed elsewhere to be better is a claim, whatever it means in this table.
    @Test(arguments: [
        [:], [.af12: .token], [.af11: .token], [.af11: .token, .af12: .token, .le: .prompt],
        [.cs6: .background], [.df: .token],
    ] as [[DSCP: TrafficClass]])
    func whatIsBelievedIsHeldToTheCeiling(_ believed: [DSCP: TrafficClass]) {
        let rules = MarkingRules(believedMarks: believed)
        for value in 0..<64 as Range<UInt8> {
            let dscp = DSCP(trafficClass: value << 2)
            for ceiling in TrafficClass.allCases where ceiling != .control {
                let clamped = rules.clamped(dscp, to: ceiling)
                let read = clamped == .df ? nil : believed[clamped]
                #expect(read ?? .background >= ceiling, "\(value) under \(ceiling.name)")
                #expect(rules.claim(of: clamped) ?? .background >= ceiling)
                #expect(rules.clamped(clamped, to: ceiling) == clamped)
            }
        }
        #expect(rules.clamped(.cs6, to: .token) == .af21, "it stays network control to others")
    }

    @Test func defaultForwardingClaimsNothing() {
        let rules = MarkingRules()
        #expect(rules.claim(of: .df) == nil)
        for ceiling in TrafficClass.allCases {
            let clamped = rules.clamped(.df, to: ceiling)
            // RFC 8622: what may only have what is left is not default traffic either.
            #expect(clamped == (ceiling == .background ? .le : .df))
        }
    }

    /// RFC 4594, figure 3.
    @Test func knownCodePointsClaimWhatTheyMean() {
        let rules = MarkingRules()
        let claims: [(UInt8, TrafficClass)] = [
            (56, .control), (48, .control), (46, .token), (44, .token), (34, .token),
            (18, .token), (26, .activation), (10, .prompt), (12, .bulk), (14, .bulk),
            (8, .background), (1, .background), (63, .control), (3, .token),
        ]
        for (value, trafficClass) in claims {
            #expect(rules.claim(of: DSCP(trafficClass: value << 2)) == trafficClass, "\(value)")
        }
        // A mark that policy gives to a class is that class's.
        let own = MarkingRules(classMarks: [.bulk: Self.ef])
        #expect(own.claim(of: Self.ef) == .bulk)
    }
}
