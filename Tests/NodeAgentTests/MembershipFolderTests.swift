import ControlModel
import Cryptography
import Foundation
import Testing

@testable import NodeAgent

@Suite struct MembershipFolderTests {
    private let folder = MembershipFolder(
        path: NSTemporaryDirectory() + "membership-\(UUID().uuidString)/bl0")

    private func create() throws -> PrivateKey {
        let network = Network(), key = PrivateKey.generate(), node = SigningKey.generate()
        let view = try network.view([try network.peer(1)])
        try folder.create(
            StoredMembership(
                terms: .init(
                    tenant: "acme", name: "node", coordinator: "https://hq.example",
                    serverPin: nil, node: node.verifyingKey.base64URL, endpoint: nil,
                    listenPort: nil, rotateEverySeconds: 60, joinedAt: 1),
                trust: .init(view.verifier, ownChain: view.ownChain, keySince: 2),
                network: .init(view), nodeKey: node.clone(), wireGuardKey: key,
                credential: "bln_" + String(repeating: "x", count: 43)))
        return key
    }

    private func fault() -> String {
        do {
            _ = try folder.load()
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func whatIsWrittenIsRead() throws {
        let key = try create()
        let stored = try folder.load()
        #expect(stored.wireGuardKey.isEqual(to: key))
        #expect(stored.nodeKey.verifyingKey.base64URL == stored.terms.node)
        #expect(stored.network.number == 5 && stored.network.peers.count == 1)
        #expect(stored.trust.keySince == 2 && stored.nextKey == nil)
        #expect(stored.terms.rotateEverySeconds == 60)
        try folder.remove()
        #expect(fault().contains("holds no membership"))
    }

    @Test func rotationIsOneStepOnDisk() throws {
        let old = try create(), new = PrivateKey.generate()
        try folder.beginRotation(to: new)
        var stored = try folder.load()
        #expect(stored.wireGuardKey.isEqual(to: old))
        #expect(stored.nextKey?.isEqual(to: new) == true)
        try folder.finishRotation()
        stored = try folder.load()
        #expect(stored.wireGuardKey.isEqual(to: new) && stored.nextKey == nil)
        try folder.remove()
    }

    @Test func looserModesAreRefused() throws {
        _ = try create()
        let manager = FileManager.default
        for file in try manager.contentsOfDirectory(atPath: folder.path) {
            let path = "\(folder.path)/\(file)"
            try manager.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
            #expect(fault().contains("\(file) has mode 640"))
            try manager.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        }
        try manager.setAttributes([.posixPermissions: 0o750], ofItemAtPath: folder.path)
        #expect(fault().contains("has mode 750"))
        try manager.setAttributes([.posixPermissions: 0o700], ofItemAtPath: folder.path)
        #expect(fault() == "")
        try folder.remove()
    }

    @Test func damageIsSaidAndPeersAreAskedForAgain() throws {
        _ = try create()
        for file in ["trust.json", "membership.json", "node.key", "wireguard.key", "secret"] {
            let path = "\(folder.path)/\(file)"
            let whole = try Data(contentsOf: URL(filePath: path))
            for count in [0, 1, whole.count / 2] {
                try whole.prefix(count).write(to: URL(filePath: path))
                #expect(fault().contains("\(file) is damaged"), "\(file) of \(count) bytes")
            }
            try whole.write(to: URL(filePath: path))
        }
        try Data("{".utf8).write(to: URL(filePath: "\(folder.path)/network.json"))
        let stored = try folder.load()
        #expect(stored.network == StoredMembership.Network())
        try folder.remove()
    }

    @Test func linksAreNotFollowed() throws {
        _ = try create()
        let path = "\(folder.path)/secret", moved = "\(folder.path)-elsewhere"
        try FileManager.default.moveItem(atPath: path, toPath: moved)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: moved)
        #expect(fault().contains("is a link"))
        try folder.remove()
        #expect(FileManager.default.fileExists(atPath: moved))
        try FileManager.default.removeItem(atPath: moved)
    }
}
