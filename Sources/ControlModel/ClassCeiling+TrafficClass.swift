public import PacketFormats

extension ClassCeiling {
    /// The class that the data plane knows it by.
    public var trafficClass: TrafficClass {
        switch self {
        case .token: .token
        case .activation: .activation
        case .prompt: .prompt
        case .bulk: .bulk
        case .background: .background
        }
    }
}
