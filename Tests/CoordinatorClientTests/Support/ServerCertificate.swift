import ControlModel
import Cryptography
import Foundation
import NIOSSL
import Testing

/// A key and a self-signed certificate of it, made by the openssl program.
struct ServerCertificate {
    let certificate: NIOSSLCertificate
    let key: NIOSSLPrivateKey
    let keyText: String

    /// - Parameters:
    ///   - keyText: The key to use again; `nil` makes one.
    ///   - isOver: Whether the certificate has expired.
    init(keyText: String? = nil, isOver: Bool = false) throws {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "client-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let keyFile = folder.appending(path: "tls.key").path
        let certificateFile = folder.appending(path: "tls.crt").path
        if let keyText {
            try keyText.write(toFile: keyFile, atomically: true, encoding: .utf8)
        } else {
            try Self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", keyFile)
        }
        let requestFile = folder.appending(path: "tls.csr").path
        try Self.openssl(
            "req", "-new", "-key", keyFile, "-subj", "/CN=other.example", "-out", requestFile)
        try Self.openssl(
            "x509", "-req", "-in", requestFile, "-signkey", keyFile, "-days", isOver ? "-1" : "2",
            "-set_serial", String(UInt32.random(in: 1...UInt32.max)), "-out", certificateFile)
        self.keyText = try String(contentsOfFile: keyFile, encoding: .utf8)
        certificate = try #require(NIOSSLCertificate.fromPEMFile(certificateFile).first)
        key = try NIOSSLPrivateKey(file: keyFile, format: .pem)
    }

    var pin: ServerPin {
        get throws {
            try #require(
                ServerPin(bytes: SHA256.hash(certificate.extractPublicKey().toSPKIBytes())))
        }
    }

    private static func openssl(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }
}
