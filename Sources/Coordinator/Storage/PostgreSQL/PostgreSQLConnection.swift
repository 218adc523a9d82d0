import CPostgres
import ControlModel
import PacketMemory

/// One connection to a PostgreSQL server. Used by one thread at a time.
///
/// Parameters are always bound. A statement is prepared at its first use, and kept.
///
/// `@unchecked Sendable`: whoever uses it has taken it from where the others would look for it.
@safe
final class PostgreSQLConnection: BatchConnection, @unchecked Sendable {
    /// The server, or the way to it, is gone. What was under way may have happened or not.
    struct Lost: Error {
        var detail: String
    }

    /// Invariant: from PQconnectdb, never nil, freed by `deinit` alone.
    private let connection: OpaquePointer
    private var prepared: [String: String] = [:]
    private var isBroken = false

    /// `PQconnectdbParams`
    ///
    /// - Parameter conninfo: As libpq takes it; limits for time are added where it has none.
    /// - Throws: `Lost`.
    init(_ conninfo: String) throws {
        // What stands behind wins. The text after `dbname` may be all of a connection's settings.
        let names = Self.defaults.map(\.0) + ["dbname"]
        let values = Self.defaults.map(\.1) + [conninfo]
        let connection = unsafe Self.withPointers(to: names) { names in
            unsafe Self.withPointers(to: values) { values in
                unsafe PQconnectdbParams(names, values, 1)
            }
        }
        guard let connection = unsafe connection else {
            throw Lost(detail: "no memory for a connection")
        }
        unsafe self.connection = connection
        guard unsafe PQstatus(connection) == CONNECTION_OK else {
            throw unsafe Lost(detail: Self.message(PQerrorMessage(connection)))
        }
        // Notices would go to the standard error stream.
        _ = unsafe PQsetNoticeProcessor(connection, { unsafe _ = ($0, $1) }, nil)
        try run("SET client_encoding TO 'UTF8'")
        try run("SET standard_conforming_strings TO on")
        // A writer that stands still keeps every replica's writers waiting.
        try run("SET idle_in_transaction_session_timeout TO '60s'")
        try run("SET statement_timeout TO '60s'")
        try run("SET synchronous_commit TO on")
    }

    deinit { unsafe PQfinish(connection) }

    /// Whether the connection can still be used. `PQstatus`
    var isAlive: Bool { unsafe !isBroken && PQstatus(connection) == CONNECTION_OK }

    /// Descriptor, for waiting. `PQsocket`
    var descriptor: CInt { unsafe PQsocket(connection) }

    func execute(_ sql: String, _ arguments: [SQLValue]) throws {
        _ = try rows(sql, arguments)
    }

    func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
        do {
            return try perform(sql, arguments)
        } catch let lost as Lost {
            throw Self.problem(of: lost)
        }
    }

    func announce(tenant: String) throws {
        _ = try rows(
            "SELECT pg_notify(?, ?)", [.text(Self.channel), .text(tenant)])
    }

    func commit() throws {
        do {
            try run("COMMIT")
        } catch let lost as Lost {
            throw CoordinatorAPI.Problem.storageUnavailable(
                "PostgreSQL went away during a commit, which may have happened: look, then try "
                    + "again (\(lost.detail))")
        }
        // The server answers a COMMIT of a transaction that failed before with ROLLBACK.
        guard lastCommand == "COMMIT" else {
            throw CoordinatorAPI.Problem.storageUnavailable("PostgreSQL took the changes back")
        }
    }

    func rollBack() {
        if isAlive, unsafe PQtransactionStatus(connection) != PQTRANS_IDLE {
            try? run("ROLLBACK")
        }
    }

    var isInTransaction: Bool {
        let status = unsafe PQtransactionStatus(connection)
        return isAlive && (status == PQTRANS_INTRANS || status == PQTRANS_INERROR)
    }

    func beginPart() throws { try control("SAVEPOINT part") }
    func keepPart() throws { try control("RELEASE SAVEPOINT part") }
    func dropPart() throws {
        try control("ROLLBACK TO SAVEPOINT part")
        try control("RELEASE SAVEPOINT part")
    }

    /// Begins a transaction that is alone among all replicas' writers.
    ///
    /// - Throws: `Lost` where nothing has begun; the caller may connect anew.
    func beginWriting() throws {
        try run("BEGIN")
        try run("SELECT pg_advisory_xact_lock(\(Self.lockKey))")
    }

    /// Begins a transaction that sees one state of the database.
    ///
    /// - Throws: `Lost`.
    func beginReading() throws { try run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") }

    /// Hears what any replica announces. `LISTEN`
    func listen() throws { try run("LISTEN \(Self.channel)") }

    /// Takes what the server has sent, and what it announced. `PQconsumeInput`, `PQnotifies`
    ///
    /// - Throws: `Lost`.
    func notifications() throws -> [String] {
        guard unsafe PQconsumeInput(connection) == 1 else { throw lost }
        var names: [String] = []
        while let notification = unsafe PQnotifies(connection) {
            names.append(unsafe String(cString: notification.pointee.extra))
            unsafe PQfreemem(notification)
        }
        return names
    }

    /// Asks whether the server is there.
    func ping() throws { try run("SELECT 1") }

    // MARK: One statement

    private var lastCommand = ""

    private func control(_ sql: String) throws {
        do {
            try run(sql)
        } catch let lost as Lost {
            throw Self.problem(of: lost)
        }
    }

    /// A statement without arguments. `PQexec`
    func run(_ sql: String) throws {
        let result = unsafe PQexec(connection, sql)
        defer { unsafe PQclear(result) }
        try unsafe check(result)
        lastCommand = unsafe String(cString: PQcmdStatus(result))
    }

    private func perform(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
        for case .text(let text) in arguments where text.utf8.contains(0) {
            throw CoordinatorAPI.Problem.invalidRequest("a text holds a NUL character")
        }
        let name = try prepare(sql, arguments)
        let parameters = ParameterList(arguments)
        let result = unsafe parameters.withPointers { values, lengths, formats in
            unsafe PQexecPrepared(
                connection, name, CInt(arguments.count), values, lengths, formats, 0)
        }
        defer { unsafe PQclear(result) }
        try unsafe check(result)
        return try unsafe rows(of: result)
    }

    /// `PQprepare`
    private func prepare(_ sql: String, _ arguments: [SQLValue]) throws -> String {
        if let name = prepared[sql] { return name }
        // Statements of ours are few; a bound keeps a mistake from filling the server. The one
        // without a name is replaced by the next.
        let name = prepared.count < Self.preparedMax ? "s\(prepared.count)" : ""
        let types = arguments.map(Self.type)
        let text = Self.numbered(sql)
        let result = unsafe types.withUnsafeBufferPointer { types in
            unsafe PQprepare(connection, name, text, CInt(types.count), types.baseAddress)
        }
        defer { unsafe PQclear(result) }
        try unsafe check(result)
        if !name.isEmpty { prepared[sql] = name }
        return name
    }

    private func check(_ result: OpaquePointer?) throws {
        let status = unsafe PQresultStatus(result)
        if status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK { return }
        guard isAlive else { throw lost }
        let state = unsafe PQresultErrorField(result, CInt(UInt8(ascii: "C")))
            .map { unsafe String(cString: $0) } ?? ""
        let text = unsafe Self.message(PQresultErrorMessage(result))
        // A server's error has a state. What has none libpq made itself, when the connection ended,
        // which it may note later.
        guard !state.isEmpty else {
            isBroken = true
            throw Lost(detail: text)
        }
        switch state.prefix(2) {
        // Resources, operator's intervention, system errors, transactions, connections; and a
        // server that takes reads only. PostgreSQL manual, appendix A.
        case "53", "57", "58", "40", "08", "25", "55":
            throw CoordinatorAPI.Problem.storageUnavailable("PostgreSQL: \(text) (\(state))")
        default: throw CoordinatorAPI.Problem.internal("PostgreSQL: \(text) (\(state))")
        }
    }

    private func rows(of result: OpaquePointer?) throws -> [SQLRow] {
        let columns = unsafe PQnfields(result)
        let types = (0..<columns).map { unsafe PQftype(result, $0) }
        let count = unsafe PQntuples(result)
        return try (0..<count).map { row in
            SQLRow(
                try (0..<columns).map { column in
                    if unsafe PQgetisnull(result, row, column) == 1 { return .null }
                    guard let value = unsafe PQgetvalue(result, row, column) else { return .null }
                    return try unsafe Self.value(
                        value, count: Int(PQgetlength(result, row, column)),
                        type: types[Int(column)])
                })
        }
    }

    private var lost: Lost {
        unsafe Lost(detail: Self.message(PQerrorMessage(connection)))
    }

    // MARK: Texts and types

    static func problem(of lost: Lost) -> CoordinatorAPI.Problem {
        .storageUnavailable("PostgreSQL cannot be reached, try again: \(lost.detail)")
    }

    /// A value in the server's text form.
    ///
    /// - Parameter text: `count` bytes that outlive the call.
    private static func value(
        _ text: UnsafePointer<CChar>, count: Int, type: Oid
    ) throws -> SQLValue {
        let bytes = unsafe UnsafeBufferPointer(start: text, count: count)
            .map { UInt8(bitPattern: $0) }
        switch type {
        case int2, int4, int8, numeric:
            guard let number = Int64(String(decoding: bytes, as: UTF8.self)) else {
                throw CoordinatorAPI.Problem.internal("an answer is no integer")
            }
            return .integer(number)
        case bytea:
            guard let bytes = Self.bytes(ofHex: bytes) else {
                throw CoordinatorAPI.Problem.internal("an answer is no byte string")
            }
            return .bytes(bytes)
        default: return .text(String(decoding: bytes, as: UTF8.self))
        }
    }

    /// `\x` and two digits for each byte. PostgreSQL manual, section 8.4.1.
    private static func bytes(ofHex text: [UInt8]) -> [UInt8]? {
        guard text.count >= 2, text.count % 2 == 0, text[0] == UInt8(ascii: "\\"),
            text[1] == UInt8(ascii: "x")
        else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 2 - 1)
        for index in stride(from: 2, to: text.count, by: 2) {
            guard let high = digit(text[index]), let low = digit(text[index + 1]) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    private static func type(_ value: SQLValue) -> Oid {
        switch value {
        case .integer: int8
        case .bytes: bytea
        // Inferred: a null has no type of its own.
        case .text, .null: 0
        }
    }

    /// `$1`, `$2` and so on for question marks; none of our statements has one in a text.
    static func numbered(_ sql: String) -> String {
        var text = "", count = 0
        for character in sql {
            guard character == "?" else {
                text.append(character)
                continue
            }
            count += 1
            text += "$\(count)"
        }
        return text
    }

    /// Lends C strings and, behind them, a nil, which end with `body`.
    @unsafe
    private static func withPointers<Result>(
        to texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
    ) -> Result {
        let bytes = texts.map { Array($0.utf8CString) }
        let joined = Array(bytes.joined())
        return unsafe joined.withUnsafeBufferPointer { joined in
            var pointers: [UnsafePointer<CChar>?] = unsafe []
            var offset = 0
            for text in bytes {
                unsafe pointers.append(joined.baseAddress.map { unsafe $0 + offset })
                offset += text.count
            }
            unsafe pointers.append(nil)
            return unsafe pointers.withUnsafeBufferPointer { pointers in
                guard let start = pointers.baseAddress else { preconditionFailure("no pointers") }
                return unsafe body(start)
            }
        }
    }

    private static func message(_ text: UnsafePointer<CChar>?) -> String {
        guard let text = unsafe text else { return "no reason given" }
        return unsafe String(cString: text).split(separator: "\n").joined(separator: "; ")
    }

    static let channel = "branchline_changes"
    /// Any number will do, as long as all replicas have the same.
    private static let lockKey: Int64 = 0x6272_616e_6368
    private static let preparedMax = 500
    /// Settings where the operator's text has none; times in seconds.
    private static let defaults = [
        ("connect_timeout", "5"), ("application_name", "branchline-coordinator"),
        ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
        ("tcp_user_timeout", "30000"),
    ]
    // PostgreSQL's pg_type.dat.
    private static let bytea: Oid = 17
    private static let int8: Oid = 20
    private static let int2: Oid = 21
    private static let int4: Oid = 23
    private static let numeric: Oid = 1700
}

/// The arguments of a statement as libpq takes them: one buffer, and where each value begins.
private struct ParameterList {
    private var bytes: [CChar] = []
    private var offsets: [Int?] = []
    private var lengths: [CInt] = []
    private var formats: [CInt] = []

    init(_ arguments: [SQLValue]) {
        for argument in arguments {
            switch argument {
            case .null: add(nil, isBinary: false)
            case .integer(let number): add(Array("\(number)".utf8), isBinary: false)
            case .text(let text): add(Array(text.utf8), isBinary: false)
            case .bytes(let bytes): add(bytes, isBinary: true)
            }
        }
    }

    private mutating func add(_ value: [UInt8]?, isBinary: Bool) {
        offsets.append(value == nil ? nil : bytes.count)
        lengths.append(CInt(value?.count ?? 0))
        formats.append(isBinary ? 1 : 0)
        // Texts end with a NUL.
        if let value { bytes += value.map { CChar(bitPattern: $0) } + [0] }
    }

    /// Lends pointers to the values, which end with `body`.
    func withPointers<Result>(
        _ body: (
            UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<CInt>?, UnsafePointer<CInt>?
        ) -> Result
    ) -> Result {
        unsafe bytes.withUnsafeBufferPointer { bytes in
            let values = unsafe offsets.map { offset in
                unsafe offset.flatMap { offset in
                    unsafe bytes.baseAddress.map { unsafe $0 + offset }
                }
            }
            return unsafe values.withUnsafeBufferPointer { values in
                unsafe lengths.withUnsafeBufferPointer { lengths in
                    unsafe formats.withUnsafeBufferPointer { formats in
                        unsafe body(values.baseAddress, lengths.baseAddress, formats.baseAddress)
                    }
                }
            }
        }
    }
}
