import WireGuardConfiguration

/// Requests and answers of the configuration protocol.
///
/// Claims: nothing traps; what is accepted survives being written and read again; the request
/// buffer cuts text the same way however it arrives.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzUAPIText(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    let choice = input.byte()
    let bytes = input.rest()
    switch (choice, choice % 4) {
    case (254, _): checkQoSStatus(bytes)
    case (255, _): checkFlows(bytes)
    case (_, 0): checkRequest(bytes)
    case (_, 1): checkAnswer(bytes)
    case (_, 2): checkStatus(bytes)
    default: checkBuffer(bytes, partSize: 1 + Int(choice >> 2))
    }
    return 0
}

private func checkRequest(_ bytes: [UInt8]) {
    do {
        let request = try UAPI.parse(request: bytes) { $0 == "eth0" ? 2 : nil }
        guard let text = written(request) else { return }
        let again = written(try UAPI.parse(request: text))
        claim(again == text, "a request changes when written and read")
    } catch {
        claim(error.errorNumber < 0 && !error.description.isEmpty, "an error without a number")
    }
}

/// - Returns: `nil` for a request that says nothing but its operation.
private func written(_ request: UAPIRequest) -> [UInt8]? {
    switch request {
    case .get, .status, .qos: nil
    case .set(let settings): UAPI.serialize(settings)
    case .setQoS(let settings): UAPI.serialize(settings)
    case .flows(let query): UAPI.serialize(query)
    }
}

private func checkAnswer(_ bytes: [UInt8]) {
    guard let status = try? UAPI.parse(answer: bytes) else { return }
    let text = UAPI.serialize(status)
    guard let again = try? UAPI.parse(answer: text) else {
        claim(false, "a written answer is refused")
        return
    }
    claim(UAPI.serialize(again) == text, "an answer changes when written and read")
    let file = WireGuardFile(status).text
    claim((try? WireGuardFile(parsing: file))?.text == file, "showconf's file is not read alike")
}

private func checkStatus(_ bytes: [UInt8]) {
    guard let status = try? EngineStatus(answer: bytes) else { return }
    let text = UAPI.serialize(status)
    guard let again = try? EngineStatus(answer: text) else {
        claim(false, "a written status is refused")
        return
    }
    claim(UAPI.serialize(again) == text, "a status changes when written and read")
}

private func checkQoSStatus(_ bytes: [UInt8]) {
    guard let status = try? QoSStatus(answer: bytes) else { return }
    let text = UAPI.serialize(status)
    guard let again = try? QoSStatus(answer: text) else {
        claim(false, "a written status of QoS is refused")
        return
    }
    claim(UAPI.serialize(again) == text, "a status of QoS changes when written and read")
}

private func checkFlows(_ bytes: [UInt8]) {
    guard let flows = try? FlowReport.list(answer: bytes) else { return }
    let text = UAPI.serialize(flows)
    guard let again = try? FlowReport.list(answer: text) else {
        claim(false, "written flows are refused")
        return
    }
    claim(UAPI.serialize(again) == text, "flows change when written and read")
}

private func checkBuffer(_ bytes: [UInt8], partSize: Int) {
    let whole = requests(in: bytes, partSize: max(bytes.count, 1))
    let parts = requests(in: bytes, partSize: partSize)
    // In parts nonsense may be noticed earlier, never requests that are not there.
    claim(parts.count <= whole.count, "parts make more requests")
    claim(Array(whole.prefix(parts.count)) == parts, "parts make other requests")
}

private func requests(in bytes: [UInt8], partSize: Int) -> [[UInt8]] {
    var buffer = UAPIRequestBuffer()
    var requests: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        buffer.receive(upTo: partSize) { $0 += rest.prefix(partSize) }
        rest = rest.dropFirst(partSize)
        do {
            while let request = try buffer.next() { requests.append(request) }
        } catch {
            return requests
        }
    }
    return requests
}
