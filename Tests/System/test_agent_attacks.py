"""A coordinator that was taken over: what it serves beside the truth must change nothing."""

import base64
import json
import os
import time

import pytest

from fakecoordinator import Problem, TENANT, claims_of, grant_of, self_signed, statements
from joined import Site, inner
from lab import wait_until

pytestmark = pytest.mark.branchline_only

HOUR = 3600


class Stranger:
    """A machine that the coordinator wants to slip in."""

    def __init__(self, number: int = 99):
        self.key = statements.Key()
        self.public_key = statements.wireguard_key()[1]
        self.address = f"10.64.0.{number}/32"

    def entry(self, chain: str, node: str | None = None) -> dict:
        return {"node": node or self.key.text, "name": "stranger", "chain": chain}


def flip(text: str) -> str:
    """Changes the first byte of a signature."""
    head, _, signature = text.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 1
    return f"{head}.{statements.b64url(bytes(raw))}"


def forgeries(site: Site, victim) -> dict[str, dict]:
    """Returns entries of peers by the reason for which each has to be refused."""
    organisation, now = site.coordinator.organisation, int(time.time())
    other, stranger = statements.Organisation(), Stranger()

    def grant(signer=organisation, key=None, node=stranger.key, **claims):
        values = {"tenant": TENANT, "role": "branch", "addresses": [stranger.address],
                  "public_key": stranger.public_key, **claims}
        link = (key or signer.admin).sign("grant", statements.grant_claims(node, **values))
        return f"{signer.admin_link}~{link}"

    narrow = statements.Key()
    narrow_link = organisation.sign_admin(narrow, tenants=["beta"])
    brief = statements.Key()
    brief_link = organisation.sign_admin(brief, grantSeconds=60)
    token = site.coordinator.token("branch", [stranger.address])
    asked = site.coordinator.token("branch", [stranger.address], approval=True)
    victims_grant = grant_of(victim.chain)
    good = grant()
    header, payload, _ = good.split("~")[1].split(".")
    unsigned = statements.b64url(statements.canonical(
        {"alg": "none", "kid": organisation.admin.text, "typ": "branchline-grant"}))
    return {
        "unknownIssuer": stranger.entry(grant(other)),
        "signatureInvalid": stranger.entry(flip(good)),
        "algorithmNotAllowed": stranger.entry(
            f"{organisation.admin_link}~{unsigned}.{payload}.{'A' * 86}"),
        "keyNotAllowed": stranger.entry(
            organisation.admin_link + "~" + organisation.root.sign(
                "grant", claims_of(good.split("~")[1]))),
        "mixedTenant": stranger.entry(grant(tenant="beta")),
        "tenantOutOfScope": stranger.entry(narrow_link + "~" + narrow.sign(
            "grant", claims_of(good.split("~")[1]))),
        "validityTooLong": stranger.entry(brief_link + "~" + brief.sign(
            "grant", claims_of(good.split("~")[1]))),
        "expired": stranger.entry(grant(start=now - 2 * HOUR, seconds=HOUR)),
        "notYetValid": stranger.entry(grant(start=now + HOUR, serial=now)),
        "numberAhead": stranger.entry(grant(serial=now + HOUR)),
        "unknownField": stranger.entry(grant(admin=True)),
        "addressOutOfScope": stranger.entry(token.join(
            stranger.key, stranger.public_key, addresses=["10.64.0.0/16"])),
        "routeOutOfScope": stranger.entry(token.join(
            stranger.key, stranger.public_key, routes=["10.0.0.0/8"])),
        "roleOutOfScope": stranger.entry(token.join(
            stranger.key, stranger.public_key, role="gateway")),
        "approvalRequired": stranger.entry(asked.join(stranger.key, stranger.public_key)),
        "chainTooLong": stranger.entry("~".join([good] * 3)),
        "notCompact": stranger.entry("nonsense"),
        "nodeMismatch": stranger.entry(good, node=statements.Key().text),
        "keyInUse": stranger.entry(grant(public_key=victims_grant["publicKey"])),
        "addressOverlap": stranger.entry(grant(addresses=victims_grant["addresses"])),
        "notAPeer": stranger.entry(grant(role="gateway")),
        "tokenReplayed": stranger.entry("~".join(victim.chain.split("~")[:2]) + "~" + token_key(
            site, victim).sign("join", {**victims_grant, "node": stranger.key.text,
                                        "publicKey": stranger.public_key,
                                        "addresses": [], "routes": []})),
        "wrongVersion": stranger.entry(organisation.admin_link + "~" + organisation.admin.sign(
            "grant", {**claims_of(good.split("~")[1]), "v": 2})),
    }


def token_key(site: Site, victim) -> statements.Key:
    """Returns the key of the token that the victim joined with, as a thief of it would."""
    return site.tokens[claims_of(victim.chain.split("~")[1])["token"]].key


def test_no_forged_peer_is_taken(lab):
    site = Site(lab)
    gateway = site.gateway()
    token = site.token(2)
    branch = site.node(2)
    branch.join(token)
    site.tokens = {token.id: token}
    branch.reaches(inner(1))
    victim = site.member(branch)
    forged = forgeries(site, victim)
    # As changes first, then in whole states beside what is true.
    for entry in forged.values():
        site.coordinator.tell("gateways", {"peer": entry})
    seen = gateway.await_agent(
        lambda status: set(forged) <= set(status["refusals"]), 10, "every refusal is shown")
    assert seen["accepted_peers"] == 1 and len(gateway.peers()) == 1
    site.coordinator.change_state = lambda member, state: {
        **state, "peers": [*forged.values(), *state["peers"]]}
    # A number from the future makes it send all of its state.
    site.coordinator.number = 1
    gateway.command("down", gateway.interface)
    gateway.command("up", gateway.interface)
    again = gateway.await_agent(lambda status: set(forged) <= set(status["refusals"]))
    assert again["accepted_peers"] == 1
    assert [sorted(peer["allowed_ips"]) for peer in gateway.peers()] == [
        ["10.64.0.2/32", "fd00:64::2/128"]]
    text = gateway.command("status", gateway.interface).stdout
    assert "refused" in text and "signatureInvalid" in text
    branch.reaches(inner(1), 60)
    reports = site.member(gateway).reports
    wait_until(lambda: any(report["refusals"].get("signatureInvalid") for report in reports), 10,
               "the refusals are reported")


def test_stale_grants_of_a_peer_are_refused(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    member, old = site.member(branch), site.member(branch).chain
    site.coordinator.set_chain(
        member, site.coordinator.grant(member, addresses=["10.64.0.2/32"]))
    wait_until(lambda: gateway.peers()[0]["allowed_ips"] == ["10.64.0.2/32"], 5, "the new grant")
    member.chain = old
    site.coordinator.announce(member)
    gateway.await_agent(lambda status: "superseded" in status["refusals"])
    assert gateway.peers()[0]["allowed_ips"] == ["10.64.0.2/32"]
    site.coordinator.tell(member.node, {"own": old})
    branch.await_agent(lambda status: "superseded" in status["refusals"])
    assert branch.agent()["addresses"] == ["10.64.0.2/32"]


def test_dropped_revocations_are_shown(lab):
    """What was revoked stays so, and status says that the coordinator serves older lists."""
    site = Site(lab)
    gateway, branch, thief = site.gateway(), site.branch(2), site.branch(3)
    thief.reaches(inner(1))
    older = site.coordinator.revoke(site.member(branch).node, number=1_700_000_000,
                                    serials={site.member(branch).node: 1})
    site.coordinator.revoke(site.member(thief).node, site.member(branch).node,
                            serials={site.member(branch).node: 1})
    wait_until(lambda: len(gateway.peers()) == 1, 5, "the thief is cut off")
    assert thief.is_cut_off(inner(1))
    for held_back in (older, None):
        site.coordinator.tenant_revocations = held_back
        site.coordinator.number += 100
        gateway.command("down", gateway.interface)
        (gateway.folder / "network.json").unlink()
        gateway.command("up", gateway.interface)
        shown = gateway.await_agent(lambda status: status["is_served_stale_revocations"])
        assert shown["revocation_lists"][0]["entry_count"] == 2
        assert "stale revocations" in gateway.command("status", gateway.interface).stdout
        assert shown["accepted_peers"] == 1
    branch.reaches(inner(1), 60)
    assert thief.is_cut_off(inner(1))


def test_forged_revocations_cut_nobody_off(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    node = site.member(branch).node
    entry = [statements.revoke_node(node)]
    other, good = statements.Organisation(), site.coordinator.organisation
    powerless = statements.Key()
    link = good.sign_admin(powerless, mayRevoke=False)
    far = int(time.time()) + 10 * HOUR
    for chain in (
            other.revocations(entry, tenant=TENANT),
            flip(good.revocations(entry, tenant=TENANT)),
            good.revocations(entry, tenant="beta"),
            good.revocations(entry, tenant=TENANT, number=far),
            link + "~" + powerless.sign("revocations", claims_of(
                good.revocations(entry, tenant=TENANT).split("~")[1])),
            "", "~", "x" * 100_000):
        site.coordinator.tell("all", {"revocations": chain})
    gateway.await_agent(lambda status: "numberAhead" in status["refusals"]
                        and "keyNotAllowed" in status["refusals"])
    branch.reaches(inner(1))
    assert gateway.agent()["accepted_peers"] == 1


def test_own_grant_cannot_be_forged(lab):
    site = Site(lab)
    site.gateway()
    branch = site.branch()
    member, other = site.member(branch), statements.Organisation()
    thief = statements.Key()
    chains = [
        other.grant(thief, TENANT, "branch", ["10.64.0.9/32"], member.public_key),
        site.coordinator.organisation.grant(
            thief, TENANT, "branch", ["10.64.0.9/32"], member.public_key),
        site.coordinator.grant(member, tenant="beta"),
        site.coordinator.grant(member, public_key=statements.wireguard_key()[1]),
        flip(site.coordinator.grant(member))]
    for chain in chains:
        site.coordinator.tell(member.node, {"own": chain})
    seen = branch.await_agent(
        lambda status: sum(status["refusals"].values()) >= len(chains), 5)
    assert seen["state"] == "active" and "10.64.0.2/32" in seen["addresses"]
    branch.reaches(inner(1))


@pytest.mark.parametrize("noise", ["garbage", "endless", "nested", "numbers", "flood"])
def test_noise_on_the_stream(lab, noise):
    """Lines that are no events, or never end, cost the node neither its tunnel nor its memory."""
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    raw = {
        "garbage": b"\xff\xfe\x00{\n" + os.urandom(5000).replace(b"\n", b" ") + b"\n{}\n[]\n\n",
        "endless": b"x" * (80 << 20),
        "nested": b"[" * 300_000 + b"\n" + b'{"kind":"state","state":' * 1000 + b"\n",
        "numbers": json.dumps({"kind": "heartbeat", "number": -5}).encode() + b"\n"
        + b'{"kind":"change","number":1e400}\n{"kind":"change","number":7}\n'
        + b'{"kind":"state","number":7}\n{"kind":"unheard","number":7}\n',
        "flood": b"?\n" * 200_000,
    }[noise]
    site.coordinator.noise = lambda member: raw
    site.coordinator.hang_up()
    if noise == "endless":
        gateway.await_agent(lambda status: status.get("connection_fault", "").count("larger"), 30)
    else:
        gateway.await_agent(lambda status: status["refusals"].get("unreadable"), 30)
    branch.reaches(inner(1))
    resident = int(next(line for line in open(f"/proc/{gateway.pid}/status")
                        if line.startswith("VmRSS")).split()[1])
    assert resident < 600_000, f"{resident} KiB"
    site.coordinator.noise = None
    site.coordinator.hang_up()
    other = site.branch(3)
    other.reaches(inner(1), 90)
    assert branch.agent()["is_in_force"]


def test_secret_goes_to_the_pinned_server_only(lab):
    site = Site(lab)
    branch = site.branch()
    site.coordinator.stop()
    site.coordinator.context, _ = self_signed(lab.folder, site.address)
    site.coordinator.start()
    status = branch.await_agent(
        lambda status: "pinned" in status.get("connection_fault", ""), 20)
    assert status["is_in_force"]


@pytest.mark.parametrize("status, reason", [(401, "unauthenticated"), (403, "node_revoked")])
def test_word_of_the_coordinator_alone_revokes_nobody(lab, status, reason):
    site = Site(lab)
    site.gateway()
    branch = site.branch()

    def refuse(secret):
        raise Problem(status, reason, "go away")

    site.coordinator.by_secret = refuse
    site.coordinator.hang_up()
    branch.await_agent(lambda seen: reason in seen.get("connection_fault", ""), 20)
    assert branch.agent()["state"] == "active"
    branch.reaches(inner(1))
