/// How scanners tell.
extension ScanEvents {
    mutating func fail(_ reason: GiveUpReason) {
        guard self.reason == .none else { return }
        self.reason = reason
        kinds.insert(.gaveUp)
    }

    mutating func requestStarted() {
        kinds.insert(.requestStarted)
        requestsStarted &+= 1
    }

    mutating func requestHeaders(_ summary: RequestSummary) {
        kinds.insert(.requestHeaders)
        request = summary
    }

    mutating func requestEnded() {
        kinds.insert(.requestEnded)
        requestsEnded &+= 1
    }

    mutating func responseHeaders(_ summary: ResponseSummary) {
        kinds.insert(.responseHeaders)
        responsesStarted &+= 1
        response = summary
    }

    mutating func responseEnded() {
        kinds.insert(.responseEnded)
        responsesEnded &+= 1
    }

    mutating func count(tokens: UInt32) {
        guard tokens > 0 else { return }
        kinds.insert(.usage)
        self.tokens &+= tokens
    }
}

extension RequestSummary {
    /// - Parameter meaning: ``Vocabulary/meaning(of:_:isWhole:)``.
    mutating func note(_ field: HTTPField, _ meaning: UInt64?) {
        guard let meaning else { return }
        let small = UInt8(truncatingIfNeeded: meaning)
        switch field {
        case .method: method = RequestMethod(rawValue: small) ?? .other
        case .path: path = PathClass(rawValue: small) ?? .other
        case .contentLength: contentLength = min(Int64(clamping: meaning), contentLengthMax)
        case .contentType: contentType = ContentType(rawValue: small) ?? .other
        case .objective: objective = Objective(rawValue: small) ?? .other
        case .firstTokenMilliseconds:
            if meaning < Vocabulary.noNumber {
                firstTokenMilliseconds = Int32(truncatingIfNeeded: meaning)
            }
        case .other, .status, .transferEncoding: break
        }
    }
}

extension ResponseSummary {
    /// - Parameter meaning: ``Vocabulary/meaning(of:_:isWhole:)``.
    mutating func note(_ field: HTTPField, _ meaning: UInt64?) {
        guard let meaning else { return }
        switch field {
        case .status: status = UInt16(truncatingIfNeeded: meaning)
        case .contentLength: contentLength = min(Int64(clamping: meaning), contentLengthMax)
        case .contentType:
            contentType = ContentType(rawValue: UInt8(truncatingIfNeeded: meaning)) ?? .other
        case .other, .method, .path, .transferEncoding, .objective, .firstTokenMilliseconds: break
        }
    }
}

/// Larger lengths are told as this one.
private let contentLengthMax: Int64 = 0xFF_FFFF_FFFF
