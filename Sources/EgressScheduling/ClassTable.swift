import PacketFormats

/// A value for each class, in place.
struct ClassTable<Value: Sendable & Hashable>: Sendable, Hashable {
    private var control: Value
    private var token: Value
    private var activation: Value
    private var prompt: Value
    private var bulk: Value
    private var background: Value

    init(repeating value: Value) {
        control = value
        token = value
        activation = value
        prompt = value
        bulk = value
        background = value
    }

    subscript(trafficClass: TrafficClass) -> Value {
        @inline(__always)
        _read {
            switch trafficClass {
            case .control: yield control
            case .token: yield token
            case .activation: yield activation
            case .prompt: yield prompt
            case .bulk: yield bulk
            case .background: yield background
            }
        }
        @inline(__always)
        _modify {
            switch trafficClass {
            case .control: yield &control
            case .token: yield &token
            case .activation: yield &activation
            case .prompt: yield &prompt
            case .bulk: yield &bulk
            case .background: yield &background
            }
        }
    }

    /// - Parameter level: The class's raw value.
    @inline(__always)
    subscript(level: Int) -> Value {
        switch level {
        case 0: control
        case 1: token
        case 2: activation
        case 3: prompt
        case 4: bulk
        default: background
        }
    }
}
