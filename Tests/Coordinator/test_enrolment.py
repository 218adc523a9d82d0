"""Who gets in: tokens used once, within their bounds, by chains that hold."""

import threading
import time

import pytest
from coordinator import Node

import statements


def joins(coordinator, node, chain, reason):
    """Requires that an enrolment is refused for a reason."""
    answer = coordinator.enrol(node, chain)
    assert 400 <= answer.status < 500, answer
    assert answer.reason == reason, answer
    return answer


def test_a_node_joins_and_is_listed(founded):
    node = founded.join()
    assert node.state["state"] == "active" and node.state["network"]["own"] == node.chain
    record = founded.call("GET", f"/v1/tenants/acme/nodes/{node.key.text}").ok()
    assert record["public_key"] == node.public_key and record["role"] == "branch"
    assert record["addresses"] == node.token.claims["addresses"]
    tokens = founded.call("GET", "/v1/tenants/acme/tokens").ok()["items"]
    assert [(t["state"], t["node"]) for t in tokens] == [("used", node.key.text)]


def test_the_same_node_may_ask_again_after_a_lost_answer(founded):
    node = founded.join()
    again = founded.enrol(node, node.chain).ok()
    assert again["state"] == "active"
    assert len(founded.call("GET", "/v1/tenants/acme/nodes").ok()["items"]) == 1


def test_a_token_is_used_once(founded):
    token = founded.add_token()
    first, thief = Node(), Node()
    founded.enrol(first, token.join(first.key, first.public_key)).ok()
    joins(founded, thief, token.join(thief.key, thief.public_key), "token_used")
    # The same node with another WireGuard key is another node as well.
    joins(founded, first, token.join(first.key, thief.public_key), "token_used")


def test_of_many_who_hold_a_token_one_gets_in(founded):
    token = founded.add_token()
    nodes = [Node() for _ in range(24)]
    chains = [token.join(node.key, node.public_key) for node in nodes]
    statuses = [None] * len(nodes)

    def enrol(index):
        statuses[index] = founded.enrol(nodes[index], chains[index]).status

    threads = [threading.Thread(target=enrol, args=(i,)) for i in range(len(nodes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses)[0] < 300 and all(status >= 400 for status in sorted(statuses)[1:])
    assert len(founded.call("GET", "/v1/tenants/acme/nodes").ok()["items"]) == 1


def test_a_token_that_was_never_registered_is_unknown(founded):
    token = founded.organisation.token("acme", "branch", ["10.64.9.9/32"])
    node = Node()
    joins(founded, node, token.join(node.key, node.public_key), "token_unknown")


def test_a_withdrawn_token_is_unknown(founded):
    token = founded.add_token()
    founded.call("DELETE", f"/v1/tenants/acme/tokens/{token.id}").ok()
    node = Node()
    joins(founded, node, token.join(node.key, node.public_key), "tokenRevoked")


@pytest.mark.parametrize("change,reason", [
    ({"tenant": "beta"}, "mixedTenant"),
    ({"role": "gateway"}, "roleOutOfScope"),
    ({"addresses": ["10.64.0.77/32"]}, "addressOutOfScope"),
    ({"addresses": ["10.64.0.0/16"]}, "addressOutOfScope"),
    ({"routes": ["10.0.0.0/8"]}, "routeOutOfScope"),
    ({"groups": ["admins"]}, "groupOutOfScope"),
    ({"profile": "branchline"}, "invalidField"),
    ({"seconds": 31 * statements.DAY}, "validityTooLong"),
    ({"token": statements.b64url(bytes(16))}, "tokenMismatch"),
    ({"serial": 1 << 50}, "numberAhead"),
    ({"admin": True}, "unknownField"),
    ({"groups": None}, "invalidField"),
])
def test_a_grant_beyond_its_token_is_refused(founded, change, reason):
    founded.add_tenant("beta", ["10.64.0.0/16"])
    token = founded.add_token()
    node = Node()
    answer = founded.enrol(node, token.join(node.key, node.public_key, **change))
    assert 400 <= answer.status < 500, answer
    assert answer.reason == reason, answer
    # The token is not used up by a refusal.
    founded.enrol(node, token.join(node.key, node.public_key)).ok()


def test_identity_is_the_whole_chain_not_its_leaf(founded):
    """A right leaf under somebody else's root, admin or token is nobody."""
    token = founded.add_token()
    node = Node()
    good = token.join(node.key, node.public_key).split("~")
    other = statements.Organisation()
    foreign = other.token("acme", "branch", token.claims["addresses"])
    foreign.key = token.key
    for chain in [
            "~".join([other.admin_link, *good[1:]]), "~".join([good[0], foreign.link, good[2]]),
            good[2], "~".join([good[0], good[2]]), "~".join(good[:2]),
            "~".join([*good, good[2]]), "~".join([good[1], good[0], good[2]]), "", "~~~",
            good[0][:-9] + ("A" if good[0][-9] != "A" else "B") + good[0][-8:] + "~"
            + "~".join(good[1:])]:
        answer = founded.enrol(node, chain)
        assert 400 <= answer.status < 500 and answer.reason, (chain[:40], answer)
    answer = founded.enrol(node, "~".join([other.admin_link, *good[1:]]))
    assert answer.reason == "unknownIssuer"
    founded.enrol(node, "~".join(good)).ok()


@pytest.mark.parametrize("header,reason", [
    ({"alg": "none"}, "algorithmNotAllowed"), ({"alg": "HS256"}, "algorithmNotAllowed"),
    ({"alg": "ES256"}, "algorithmNotAllowed"), ({"alg": "eddsa"}, "algorithmNotAllowed"),
    ({"jwk": {}}, "headerNotAllowed"), ({"jku": "http://169.254.169.254/"}, "headerNotAllowed"),
    ({"crit": ["exp"]}, "headerNotAllowed"), ({"typ": "branchline-grant"}, "wrongType"),
    ({"typ": "JWT"}, "wrongType")])
def test_other_algorithms_and_headers_are_refused(founded, header, reason):
    token = founded.add_token()
    node = Node()
    claims = statements.grant_claims(
        node.key, "acme", "branch", token.claims["addresses"], node.public_key, token=token.id)
    chain = token.chain + "~" + token.key.sign("join", claims, header=header)
    answer = founded.enrol(node, chain)
    assert 400 <= answer.status < 500, answer
    if header != {"typ": "branchline-grant"}:
        assert answer.reason == reason, answer


def test_an_expired_token_is_refused(founded):
    reservation = founded.reserve()
    past = int(time.time()) - 3 * statements.DAY
    token = founded.organisation.token("acme", "branch", reservation["addresses"],
                                       **statements.validity(statements.DAY, past))
    assert founded.register(token, reservation).reason == "expired"
    node = Node()
    answer = founded.enrol(node, token.join(node.key, node.public_key))
    assert answer.reason in ("expired", "token_unknown", "issuedOutsideToken"), answer


def test_a_token_must_have_exactly_the_reserved_addresses(founded):
    reservation = founded.reserve()
    for addresses in (["10.64.0.0/16"], ["10.64.200.1/32"], []):
        token = founded.organisation.token("acme", "branch", addresses)
        assert 400 <= founded.register(token, reservation).status < 500
    other = founded.add_tenant("beta", ["10.64.0.0/16"]) and founded.reserve("beta")
    token = founded.organisation.token("acme", "branch", other["addresses"])
    assert 400 <= founded.register(token, other).status < 500


def test_an_admin_signs_within_his_scope_only(founded):
    """A stolen key of one tenant's admin is worth nothing in another."""
    founded.add_tenant("beta", ["10.65.0.0/16"])
    narrow = statements.Organisation.__new__(statements.Organisation)
    narrow.root, narrow.admin = founded.organisation.root, statements.Key()
    narrow.admin_link = narrow.sign_admin(narrow.admin, tenants=["beta"], roles=["branch"])
    founded.call("POST", "/v1/organisation/admins", {"statement": narrow.admin_link}).ok()
    reservation = founded.reserve("acme")
    token = narrow.token("acme", "branch", reservation["addresses"])
    assert founded.register(token, reservation).reason == "tenantOutOfScope"
    reservation = founded.reserve("beta")
    token = narrow.token("beta", "gateway", reservation["addresses"])
    assert founded.register(token, reservation, "beta").reason == "roleOutOfScope"
    token = narrow.token("beta", "branch", reservation["addresses"])
    founded.register(token, reservation, "beta").ok()


def test_an_admin_whom_the_root_did_not_sign_is_nobody(founded):
    stranger = statements.Organisation()
    answer = founded.call("POST", "/v1/organisation/admins", {"statement": stranger.admin_link})
    assert answer.reason == "unknownIssuer"


def test_keys_are_used_by_one_node(founded):
    first = founded.join()
    token = founded.add_token()
    twin = Node()
    answer = founded.enrol(twin, token.join(twin.key, first.public_key))
    assert 400 <= answer.status < 500 and answer.reason == "keyInUse", answer
    founded.add_tenant("beta", ["10.65.0.0/16"])
    token = founded.add_token("beta")
    answer = founded.enrol(first, token.join(first.key, Node().public_key))
    assert 400 <= answer.status < 500, answer


def test_a_small_pool_runs_out_and_fills_again(founded):
    founded.add_tenant("tiny", ["10.70.0.0/29"])
    tokens, answer = [], None
    for _ in range(10):
        answer = founded.call("POST", "/v1/tenants/tiny/reservations", {"addresses": []})
        if answer.status >= 300:
            break
        reservation = answer.json
        token = founded.organisation.token("tiny", "branch", reservation["addresses"])
        founded.register(token, reservation, "tiny").ok()
        tokens.append(token)
    assert (answer.status, answer.reason) == (409, "pool_exhausted")
    addresses = [token.claims["addresses"][0] for token in tokens]
    assert len(set(addresses)) == len(addresses) >= 5
    founded.call("DELETE", f"/v1/tenants/tiny/tokens/{tokens[0].id}").ok()
    assert founded.reserve("tiny")["addresses"] == [addresses[0]]


def test_tenants_may_overlap(founded):
    founded.add_tenant("beta", ["10.64.0.0/16"])
    assert founded.reserve("acme")["addresses"] == founded.reserve("beta")["addresses"]


def test_addresses_of_both_families(founded):
    founded.add_tenant("six", ["10.71.0.0/24", "fd00:64::/64"])
    addresses = founded.reserve("six")["addresses"]
    assert sorted(text.split("/")[1] for text in addresses) == ["128", "32"]


def test_approval(founded):
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    watch.next()
    node = founded.join(approval=True)
    assert node.state["state"] == "pending"
    nodes = founded.call("GET", "/v1/tenants/acme/nodes").ok()["items"]
    assert {n["state"] for n in nodes if n["node"] == node.key.text} == {"pending"}
    time.sleep(1.1)  # Serials are seconds.
    grant = founded.organisation.grant(
        node.key, "acme", "branch", node.token.claims["addresses"], node.public_key)
    record = founded.call(
        "PUT", f"/v1/tenants/acme/nodes/{node.key.text}/grant", {"chain": grant}).ok()
    assert record["state"] == "active"
    event = watch.until(lambda e: (e.get("change") or {}).get("peer"))
    assert event["change"]["peer"]["chain"] == grant
    # Somebody else's key cannot be slipped in with the approval.
    other = founded.organisation.grant(
        statements.Key(), "acme", "branch", node.token.claims["addresses"], node.public_key)
    assert founded.call("PUT", f"/v1/tenants/acme/nodes/{node.key.text}/grant",
                        {"chain": other}).status >= 400


def test_suspend_resume_revoke(founded):
    node = founded.join()
    path = f"/v1/tenants/acme/nodes/{node.key.text}"
    serial = founded.call("GET", path).ok()["serial"]
    founded.revoke(node, serial=serial).ok()
    assert founded.call("GET", path).ok()["state"] == "suspended"
    time.sleep(1.1)  # Serials are seconds.
    grant = founded.organisation.grant(
        node.key, "acme", "branch", node.token.claims["addresses"], node.public_key)
    assert founded.call("PUT", path + "/grant", {"chain": grant}).ok()["state"] == "active"
    founded.revoke(node).ok()
    assert founded.call("GET", path).ok()["state"] == "revoked"
    time.sleep(1.1)
    again = founded.organisation.grant(
        node.key, "acme", "branch", node.token.claims["addresses"], node.public_key)
    assert founded.call("PUT", path + "/grant", {"chain": again}).status >= 400


def test_a_revocation_list_only_grows(founded):
    first, second = founded.join(), founded.join()
    founded.revoke(first).ok()
    answer = founded.revoke(second)  # A list without the first.
    assert answer.reason == "revocationListShrunk", answer
    record = founded.revocations()
    stale = founded.organisation.revocations(
        [statements.revoke_node(second.key.text)], "acme", number=record["number"] - 1)
    answer = founded.call("PUT", "/v1/tenants/acme/revocations", {"chain": stale},
                          headers={"If-Match": f'"{record["number"]}"'})
    assert answer.reason == "revocationListBackwards", answer
    forged = statements.Organisation().revocations([], "acme")
    answer = founded.call("PUT", "/v1/tenants/acme/revocations", {"chain": forged},
                          headers={"If-Match": f'"{record["number"]}"'})
    assert answer.reason == "unknownIssuer", answer
