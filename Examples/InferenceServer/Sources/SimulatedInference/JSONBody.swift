import Foundation
import Hummingbird
import NIOCore
import NIOFoundationCompat

/// JSON in and out of HTTP bodies.
enum JSONBody {
    /// Collects a request's body and decodes it.
    /// - Parameter bytesMax: Larger bodies are refused before they are held in memory.
    /// - Throws: ``OpenAIError`` that names the member at fault.
    static func decode<Value: Decodable>(
        _ type: Value.Type, from request: Request, bytesMax: Int
    ) async throws -> Value {
        if let announced = request.headers[.contentLength].flatMap(Int.init), announced > bytesMax {
            throw OpenAIError.bodyTooLarge(bytesMax: bytesMax)
        }
        let body: ByteBuffer
        do {
            body = try await request.body.collect(upTo: bytesMax)
        } catch is NIOTooManyBytesError {
            throw OpenAIError.bodyTooLarge(bytesMax: bytesMax)
        }
        do {
            return try JSONDecoder().decode(type, from: Data(body.readableBytesView))
        } catch let error as DecodingError {
            throw refusal(error)
        }
    }

    static func response(
        _ value: some Encodable, status: HTTPResponse.Status = .ok
    ) throws -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: try encoder().encode(value))))
    }

    /// A text as a JSON string with its quotes.
    static func string(_ text: String) throws -> String {
        String(decoding: try encoder().encode(text), as: UTF8.self)
    }

    /// Writes the same value to the same bytes each time.
    private static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    private static func refusal(_ error: DecodingError) -> OpenAIError {
        switch error {
        case .keyNotFound(let key, let context):
            let name = path(context.codingPath + [key])
            return .invalid(
                name, "Missing required parameter: '\(name)'.",
                code: "missing_required_parameter")
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            let name = path(context.codingPath)
            return .invalid(
                name.isEmpty ? nil : name,
                name.isEmpty
                    ? "The request body must be a JSON object."
                    : "Invalid type for '\(name)': \(context.debugDescription)",
                code: "invalid_type")
        case .dataCorrupted(let context) where !context.codingPath.isEmpty:
            let name = path(context.codingPath)
            return .invalid(name, "Invalid value for '\(name)': \(context.debugDescription)")
        case .dataCorrupted:
            return .invalid(nil, "We could not parse the JSON body of your request.")
        @unknown default:
            return .invalid(nil, "We could not read the JSON body of your request.")
        }
    }

    /// `messages[0].content` for a decoder's path.
    private static func path(_ keys: [any CodingKey]) -> String {
        keys.reduce(into: "") { path, key in
            if let index = key.intValue {
                path += "[\(index)]"
            } else {
                path += path.isEmpty ? key.stringValue : "." + key.stringValue
            }
        }
    }
}
