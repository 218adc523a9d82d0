import PacketFormats
import Testing

@testable import ControlModel

/// What two nodes speak, by their grants alone.
@Suite struct ProfileTests {
    private let world = World()

    private func grant(_ role: Role, _ profile: TunnelProfile) -> Grant {
        var grant = world.grant
        grant.role = role
        grant.profile = profile
        return grant
    }

    @Test func bothEndsComeToTheSame() {
        for first in Role.allCases {
            for second in Role.allCases {
                for here in TunnelProfile.allCases {
                    for there in TunnelProfile.allCases {
                        let one = grant(first, here), other = grant(second, there)
                        #expect(one.profile(with: other) == other.profile(with: one))
                    }
                }
            }
        }
    }

    @Test func nothingIsWeakerThanEitherGrantAsksFor() {
        for here in TunnelProfile.allCases {
            for there in TunnelProfile.allCases {
                let spoken = grant(.branch, here).profile(with: grant(.gateway, there))
                let isWeak = spoken == .wireguard
                #expect(isWeak == (here == .wireguard && there == .wireguard))
                #expect([here, there].contains(spoken))
            }
        }
    }

    @Test func ofTwoCiphersItIsTheOneThatEveryMachineHas() {
        let pairs: [(Role, Role)] = [(.branch, .gateway), (.gateway, .branch), (.client, .gateway)]
        for (here, there) in pairs {
            let aes = grant(here, .branchlineAES), chaCha = grant(there, .branchlineChaCha)
            #expect(aes.profile(with: chaCha) == .branchlineChaCha)
        }
    }
}
