/// What bounds a client, whatever the server does.
enum ClientLimits {
    /// Of one answer, and of one line of a stream. The largest is what a gateway with 10,000 peers
    /// gets at first: their chains, at about 2.5 kB each.
    static var answerBytesMax: Int { 64 << 20 }
    /// Of an answer that says what went wrong.
    static var problemBytesMax: Int { 256 << 10 }
    /// Of the coordinator's address.
    static var addressBytesMax: Int { 255 }
    /// Characters of a stranger's text in a message.
    static var excerptCount: Int { 120 }

    static var connectSeconds: Int64 { 10 }
    /// A stream carries a heartbeat every 20 s at least.
    static var silenceSeconds: Int64 { 60 }
}
