/// Why a tenant of a gateway is not served, in a name for programs and a sentence for people.
///
/// It is this tenant's alone: others go on.
public struct TenantFault: Error, Codable, Hashable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable {
        // What is on disk.
        case fileUnreadable
        case fileBroken
        case unknownMember
        case invalidValue
        case nameMismatch
        case noAddresses
        case contradictingLimits
        case contradictingSources
        case configurationUnusable
        case membershipUnusable
        // What another tenant has, or another peer of this one.
        case duplicateInterface
        case duplicatePlace
        case duplicateAddresses
        case duplicateSource
        case duplicateKey
        case overlappingRoutes
        case tooManyTenants
        // What the system refuses, or takes away.
        case namespaceUnusable
        case namespaceGone
        case deviceUnusable
        case deviceRemoved
        case socketUnusable
        case networkUnusable
        case descriptorsExhausted
        case memoryExhausted
        case engineRefused
    }

    public let kind: Kind
    public let detail: String

    public init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }
}

extension TenantFault: CustomStringConvertible {
    public var description: String { detail }
}
