import ControlModel
import Crypto
import FoundationEssentials
import NIOCore
import NIOSSL
import SwiftASN1
import X509

/// The server's certificate and key, and the pin by which clients know the key.
struct TLSIdentity: Sendable {
    let chain: [NIOSSLCertificate]
    let key: NIOSSLPrivateKey
    /// SHA-256 of the leaf's public key.
    let pin: ServerPin

    /// Reads the files that an administrator gave.
    ///
    /// - Throws: `StateFault` where they cannot be read or do not belong together.
    init(certificateFile: String, keyFile: String) throws {
        try self.init(
            certificatePEM: StateFolder.read(certificateFile, bytesMax: Self.bytesMax),
            keyPEM: StateFolder.read(keyFile, bytesMax: Self.bytesMax),
            description: "\(certificateFile) and \(keyFile)")
    }

    /// The coordinator's own certificate, made at first start and renewed before it ends.
    ///
    /// The key stays, so the pin does.
    /// - Parameter names: What clients call the coordinator: host names and IP addresses.
    init(folder: StateFolder, names: [String], now: Date) throws {
        let keyPEM = try Self.keyPEM(in: folder)
        let description = folder.path(of: "tls.crt and tls.key")
        if let certificate = try folder.read(Self.certificateName),
            Self.isGood(certificate, names: names, keyPEM: keyPEM, now: now)
        {
            try self.init(
                certificatePEM: certificate, keyPEM: keyPEM, description: description)
            return
        }
        let certificate = try Self.selfSigned(keyPEM: keyPEM, names: names, now: now)
        try folder.replacePublic(Self.certificateName, certificate)
        try self.init(certificatePEM: certificate, keyPEM: keyPEM, description: description)
    }

    private init(certificatePEM: [UInt8], keyPEM: [UInt8], description: String) throws {
        do {
            chain = try NIOSSLCertificate.fromPEMBytes(certificatePEM)
            key = try NIOSSLPrivateKey(bytes: keyPEM, format: .pem)
            guard let leaf = chain.first else {
                throw StateFault("\(description): there is no certificate in it.")
            }
            let publicKey = try leaf.extractPublicKey().toSPKIBytes()
            guard let pin = ServerPin(bytes: [UInt8](SHA256.hash(data: publicKey))) else {
                throw StateFault("\(description): the certificate's key cannot be read.")
            }
            self.pin = pin
            // Fails where key and certificate do not belong together.
            _ = try makeContext()
        } catch let error as StateFault {
            throw error
        } catch {
            throw StateFault(
                "cannot use \(description): \(error). Give a certificate chain and its key, "
                    + "both as PEM.")
        }
    }

    func makeContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        // Everything is written by then: whoever does not answer the goodbye holds nothing up.
        configuration.shutdownTimeout = .milliseconds(500)
        return try NIOSSLContext(configuration: configuration)
    }

    // MARK: Self-signed

    private static func keyPEM(in folder: StateFolder) throws -> [UInt8] {
        if let bytes = try folder.read(keyName) { return bytes }
        let bytes = [UInt8](P256.Signing.PrivateKey().pemRepresentation.utf8)
        try folder.createPrivate(keyName, bytes)
        return bytes
    }

    /// Whether a certificate has this key and these names, and does not end soon.
    private static func isGood(
        _ certificatePEM: [UInt8], names: [String], keyPEM: [UInt8], now: Date
    ) -> Bool {
        guard
            let certificate = try? Certificate(
                pemEncoded: String(decoding: certificatePEM, as: UTF8.self)),
            let key = try? privateKey(keyPEM), certificate.publicKey == key.publicKey,
            let present = try? certificate.extensions.subjectAlternativeNames
        else { return false }
        return Array(present) == names.map(generalName)
            && certificate.notValidAfter.timeIntervalSince(now) > renewalSeconds
            && certificate.notValidBefore <= now
    }

    private static func selfSigned(
        keyPEM: [UInt8], names: [String], now: Date
    ) throws -> [UInt8] {
        do {
            let key = try privateKey(keyPEM)
            let subject = try DistinguishedName { CommonName("branchline-coordinator") }
            let certificate = try Certificate(
                version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
                notValidBefore: now.addingTimeInterval(-skewSeconds),
                notValidAfter: now.addingTimeInterval(validitySeconds), issuer: subject,
                subject: subject, signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage([.serverAuth])
                    SubjectAlternativeNames(names.map(generalName))
                },
                issuerPrivateKey: key)
            return [UInt8](try certificate.serializeAsPEM().pemString.utf8) + [10]
        } catch {
            throw StateFault("cannot make a certificate: \(error)")
        }
    }

    private static func privateKey(_ pem: [UInt8]) throws -> Certificate.PrivateKey {
        try Certificate.PrivateKey(pemEncoded: String(decoding: pem, as: UTF8.self))
    }

    private static func generalName(_ name: String) -> GeneralName {
        if let address = IPAddressBytes.parse(name) {
            return .ipAddress(ASN1OctetString(contentBytes: address[...]))
        }
        return .dnsName(name)
    }

    private static let certificateName = "tls.crt"
    private static let keyName = "tls.key"
    private static var bytesMax: Int { 1 << 20 }
    private static var day: Double { 86_400 }
    private static var validitySeconds: Double { 397 * day }
    private static var renewalSeconds: Double { 60 * day }
    private static var skewSeconds: Double { 3600 }
}
