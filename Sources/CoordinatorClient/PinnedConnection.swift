import AsyncHTTPClient
import ControlModel
import Cryptography
import NIOCore
import NIOSSL

extension HTTPClient.Configuration {
    /// Accepts one server key, whoever made its certificate and whenever that expires.
    ///
    /// The handshake proves that the server holds the key of its certificate. Before a connection
    /// carries its first request, that key's fingerprint is compared; it is compared for every
    /// connection, so a renewed certificate with the same key goes on and another key does not.
    mutating func accept(only pin: ServerPin) {
        tlsConfiguration?.certificateVerification = .none
        http1_1ConnectionDebugInitializer = { channel in
            if Self.hasKey(of: pin, channel) { return channel.eventLoop.makeSucceededVoidFuture() }
            // The pool learns of the failure first: it knows only of connections that began.
            channel.eventLoop.execute { channel.close(promise: nil) }
            return channel.eventLoop.makeFailedFuture(ClientFault.pinMismatch)
        }
    }

    private static func hasKey(of pin: ServerPin, _ channel: any Channel) -> Bool {
        let certificate = try? channel.pipeline.syncOperations.nioSSL_peerCertificate()
        guard let key = try? certificate?.extractPublicKey().toSPKIBytes() else { return false }
        return SHA256.hash(key) == pin.bytes
    }
}
