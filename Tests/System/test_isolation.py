"""Tenants of one gateway that share every address: no packet of one is another's to see."""

import pytest

import hostileinside
import hostileoutside
from brokenbuild import broken_branchlined
from isolation import KINDS
from lab import Lab, is_reference_under_test
from matrix import Matrix
from threetenants import has_gateway

HOSTILE_PACKETS_MIN = 15_000
# What each fault of broken/isolation.patch must let through, at least.
FAULTS = {
    "no-source-check": hostileinside.forged_inner_sources,
    "first-table": hostileinside.forged_inner_sources,
    "first-device": hostileinside.interleaved_flows,
    "mixed-writes": hostileinside.interleaved_flows,
    "mixed-runs": hostileinside.interleaved_flows,
    "stray-errors": hostileinside.icmp_errors,
    "kept-sessions": hostileoutside.tenants_that_were_replaced,
}
# Faults that one tunnel alone does not show.
FAULTS_OF_GATEWAYS = set(FAULTS) - {"no-source-check"}
# What a broken gateway does not deliver is not waited for.
PATIENCE_SECONDS = 0.2


def test_nothing_crosses_from_tenant_to_tenant(lab):
    """Every kind of hostile packet, with all watchers known to see."""
    result = Matrix(lab).run(KINDS, is_verbose=True)
    assert not result.blind, "\n".join(result.blind[:20])
    assert not result.crossings, "\n".join([*result.crossings][:20])
    assert result.hostile_packets >= HOSTILE_PACKETS_MIN
    assert len(result.kinds) == len(KINDS)


@pytest.fixture(scope="module")
def broken():
    """A daemon whose isolation breaks in the way that BRANCHLINE_FAULT names."""
    lab = Lab()
    try:
        yield str(broken_branchlined(lab, "isolation"))
    finally:
        lab.close()


@pytest.mark.skipif(is_reference_under_test(), reason="the faults are branchlined's")
@pytest.mark.parametrize("fault", FAULTS)
def test_matrix_sees_a_gateway_that_leaks(lab, broken, monkeypatch, fault):
    """The matrix can fail: with a fault, packets of the kind that it lets through cross."""
    monkeypatch.setenv("BRANCHLINED", broken)
    monkeypatch.setenv("BRANCHLINE_FAULT", fault)
    if fault in FAULTS_OF_GATEWAYS and not has_gateway():
        pytest.skip("needs one process for all tenants")
    result = Matrix(lab, patience=PATIENCE_SECONDS).run([FAULTS[fault]], is_verbose=True)
    assert result.crossings, result.blind[:20]


@pytest.mark.skipif(is_reference_under_test(), reason="the faults are branchlined's")
def test_same_build_without_a_fault_leaks_nothing(lab, broken, monkeypatch):
    """What the matrix sees is the fault, and not the build."""
    monkeypatch.setenv("BRANCHLINED", broken)
    result = Matrix(lab).run(dict.fromkeys(FAULTS.values()), is_verbose=True)
    assert not result.blind and not result.crossings
