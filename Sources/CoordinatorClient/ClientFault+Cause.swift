import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import SystemPackage

extension ClientFault {
    /// What an error of the libraries below means to whoever asked.
    ///
    /// - Returns: `nil` for what is not about the connection, such as a cancellation.
    init?(cause: any Error) {
        switch cause {
        case let fault as ClientFault: self = fault
        case let error as HTTPClientError:
            guard let fault = Self.fault(of: error) else { return nil }
            self = fault
        case let error as NIOConnectionError: self = .unreachable(Self.text(of: error))
        case let error as NIOSSLError: self = Self.fault(of: error)
        case let error as NIOSSLExtraError: self = .certificateRefused("\(error)")
        case let error as HTTPParserError: self = .notACoordinator("\(error)")
        case is NIOTooManyBytesError: self = .answerTooLarge
        case let error as IOError: self = .unreachable(Self.text(of: error))
        case let error as ChannelError: self = .unreachable(Self.text(of: error))
        default: return nil
        }
    }

    private static func fault(of error: HTTPClientError) -> ClientFault? {
        switch error {
        case .cancelled, .requestStreamCancelled: nil
        case .connectTimeout: .unreachable("no answer to connecting")
        case .tlsHandshakeTimeout: .notACoordinator("no answer in TLS")
        case .deadlineExceeded, .readTimeout, .writeTimeout, .getConnectionFromPoolTimeout:
            .timedOut
        case .remoteConnectionClosed, .uncleanShutdown: .unreachable("the connection broke off")
        default: .unreachable("\(error)")
        }
    }

    private static func fault(of error: NIOSSLError) -> ClientFault {
        switch error {
        case .handshakeFailed(.sslError(let stack))
        where stack.contains(where: { "\($0)".contains("CERTIFICATE_VERIFY_FAILED") }):
            .certificateRefused("no public authority vouches for it")
        case .unableToValidateCertificate, .noCertificateToValidate:
            .certificateRefused("no public authority vouches for it")
        case .handshakeFailed: .notACoordinator("it does not speak TLS 1.2 or later")
        default: .unreachable("the connection broke off")
        }
    }

    private static func text(of error: NIOConnectionError) -> String {
        if let failure = error.connectionErrors.first { return text(of: failure.error) }
        return "\(error.host) has no address in DNS"
    }

    private static func text(of error: any Error) -> String {
        switch error {
        case ChannelError.connectTimeout: "no answer to connecting"
        case is ChannelError: "the connection broke off"
        case let error as IOError: "\(Errno(rawValue: error.errnoCode))"
        default: "\(error)"
        }
    }
}
