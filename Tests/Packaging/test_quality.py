"""What reviewers of packages look at first: lint, reproducibility, bill of materials."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from commands import PROJECT, outcome, run
from conftest import build

SCRIPTS = ("debian.sh", "oci.sh", "programs.sh", "stage.sh", "systemd/tenant-namespaces")
MAINTAINER_SCRIPTS = ("branchline.postinst", "branchline.prerm", "branchline.postrm",
                      "branchline-coordinator.postrm")


@pytest.fixture(scope="module")
def bill(programs):
    resolved = os.environ.get("RESOLVED", str(PROJECT / "Package.resolved"))
    if not Path(resolved).exists():
        pytest.skip("nothing was built here: RESOLVED names no Package.resolved")
    return run("Packaging/bill_of_materials.py", str(programs), resolved)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_packages_built_twice_are_the_same(packages, programs, scratch):
    again = build(scratch / "again", programs)
    assert {name: digest(path) for name, path in packages.items()} == {
        name: digest(path) for name, path in again.items()}


def test_lintian_has_nothing_to_say_but_what_is_overridden(packages):
    said = run("lintian", "--allow-root", "--fail-on", "error,warning",
               # Only these tests are in such a hurry.
               "--suppress-tags",
               "uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball",
               *map(str, packages.values()))
    assert [line for line in said.splitlines() if line[:2] in ("E:", "W:")] == []


def test_each_override_has_a_reason_before_it():
    for path in (PROJECT / "Packaging/debian").glob("*.lintian-overrides"):
        lines = path.read_text().splitlines()
        for before, line in zip(["", *lines], lines):
            assert line.startswith("#") or before.startswith("#"), line


def test_scripts_are_clean():
    paths = [f"Packaging/{script}" for script in SCRIPTS]
    paths += [f"Packaging/debian/{script}" for script in MAINTAINER_SCRIPTS]
    run("shellcheck", "--external-sources", *paths, "Tests/Packaging/python.sh")


def test_programs_that_need_a_swift_runtime_are_refused(scratch):
    folder = scratch / "dynamic"
    folder.mkdir()
    source = folder / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    run("gcc", "-shared", "-Wl,-soname,libswiftCore.so", "-o", str(folder / "libswiftCore.so"),
        str(source))
    for name in ("branchline", "branchlined", "branchline-coordinator"):
        run("gcc", "-Wl,--no-as-needed", "-o", str(folder / name), str(source),
            str(folder / "libswiftCore.so"))
    status, said = outcome("Packaging/debian.sh", str(folder / "out"), PROGRAMS=str(folder))
    assert status == 1
    assert "--static-swift-stdlib" in said


def test_bill_of_materials_is_valid(bill):
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_5)
    assert validator.validate_str(bill) is None


def test_bill_of_materials_names_programs_packages_and_libraries(bill, programs):
    bill = json.loads(bill)
    listed = {part["name"]: part for part in bill["components"]}
    assert {"swift", "swift-nio", "swift-crypto", "libsodium23", "libc6"} <= set(listed)
    for part in bill["metadata"]["component"]["components"]:
        assert part["hashes"][0]["content"] == digest(programs / part["name"])
    known = {part["bom-ref"] for part in bill["components"]}
    for entry in bill["dependencies"][1:]:
        assert set(entry["dependsOn"]) <= known


def test_bill_of_materials_is_the_same_again(bill, programs):
    resolved = os.environ.get("RESOLVED", str(PROJECT / "Package.resolved"))
    assert run("Packaging/bill_of_materials.py", str(programs), resolved) == bill
