import ControlModel
import HTTPTypes
import Testing

@testable import Coordinator

@Suite struct RouteTableTests {
    private let table = RouteTable([
        Self.route(.get, "/healthz"), Self.route(.get, "/v1/tenants"),
        Self.route(.post, "/v1/tenants"), Self.route(.get, "/v1/tenants/{tenant}"),
        Self.route(.delete, "/v1/tenants/{tenant}/pools/{address}/{length}"),
        Self.route(.get, "/v1/self/watch", isStream: true),
    ])

    @Test func aPathLeadsToItsRouteWithItsParameters() {
        let (path, parameters) = found(.delete, "/v1/tenants/acme/pools/fd00%3A64::/64")
        #expect(path == "/v1/tenants/{tenant}/pools/{address}/{length}")
        #expect(parameters == ["tenant": "acme", "address": "fd00:64::", "length": "64"])
    }

    @Test func headIsWhatGetIs() {
        #expect(found(.head, "/v1/tenants/acme").path == "/v1/tenants/{tenant}")
    }

    @Test func aStreamHasNoHead() {
        guard case .otherMethods(let methods) = table.match(.head, "/v1/self/watch") else {
            Issue.record("found")
            return
        }
        #expect(methods == ["GET"])
    }

    @Test func otherMethodsAreNamed() {
        guard case .otherMethods(let methods) = table.match(.put, "/v1/tenants") else {
            Issue.record("found")
            return
        }
        #expect(methods == ["GET", "HEAD", "POST"])
    }

    @Test(arguments: [
        "/", "", "/v1", "/v1/", "/v1/tenants/", "//v1/tenants", "/v1//tenants", "/V1/tenants",
        "/v1/tenants/acme/nothing", "/v1/tenants/%", "/v1/tenants/%4", "/v1/tenants/%zz",
        "/v1/tenants/%00", "/v1/tenants/a%0d%0ab", "/v1/tenants/%ff", "/v1/tenants/../healthz",
        "https://host/v1/tenants", "*",
    ])
    func whatIsNoPathLeadsNowhere(path: String) {
        guard case .none = table.match(.get, path[...]) else {
            Issue.record("found \(path)")
            return
        }
    }

    @Test func escapesAreDecodedOnce() {
        #expect(found(.get, "/v1/tenants/a%252Fb").parameters == ["tenant": "a%2Fb"])
        #expect(found(.get, "/v1/tenants/a%2Fb").parameters == ["tenant": "a/b"])
    }

    private func found(
        _ method: HTTPRequest.Method, _ path: String
    ) -> (path: String, parameters: [String: String]) {
        guard case .route(let route, let parameters) = table.match(method, path[...]) else {
            return ("", [:])
        }
        return (route.path, parameters)
    }

    private static func route(
        _ method: HTTPRequest.Method, _ path: String, isStream: Bool = false
    ) -> Route {
        Route(
            method, path, .open, isStream: isStream,
            Operation(path, .system, path, answer: .nothing())
        ) { _ in APIAnswer.nothing() }
    }
}

@Suite struct QueryTextTests {
    @Test func valuesAreDecoded() throws {
        let query = QueryText("after=a%20b+c&limit=10&empty=&alone")
        #expect(try query.text("after") == "a b c")
        #expect(try query.integer("limit", in: 1...1000) == 10)
        #expect(try query.text("empty") == "")
        #expect(try query.text("alone") == "")
        #expect(try query.text("missing") == nil)
        #expect(try query.integer("missing", in: 1...1000) == nil)
    }

    @Test(arguments: [
        "n=0", "n=1001", "n=", "n", "n=-1", "n=+1", "n=1.5", "n=1e2", "n=0x1", "n=%31%30%30%30%30",
        "n=99999999999999999999", "n=1&n=1", "n=%zz", "n=%ff",
    ])
    func whatIsNoNumberInItsRangeIsRefused(query: String) {
        #expect(throws: CoordinatorAPI.Problem.self) {
            try QueryText(query[...]).integer("n", in: 1...1000)
        }
    }

    @Test func repeatedParametersAreRefused() {
        #expect(throws: CoordinatorAPI.Problem.self) { try QueryText("a=1&a=2").text("a") }
    }
}
