"""Container images, Kubernetes manifests and RPM packages, as far as they can be tried here."""

import json
import re
import sys
import tempfile
from pathlib import Path

import pytest
from commands import PROJECT, outcome, run

USER = 65532


@pytest.fixture(scope="module")
def images(scratch, programs):
    return build(scratch / "images", programs)


def build(folder, programs):
    run("Packaging/oci.sh", str(folder), PROGRAMS=str(programs), COMPRESSION="none")
    return folder


def version(programs):
    return run(str(programs / "branchline"), "--version").strip()


def manifest(layout):
    index = json.loads((layout / "index.json").read_text())
    return json.loads(blob(layout, index["manifests"][0]["digest"]).read_text())


def blob(layout, digest):
    return layout / "blobs" / Path(*digest.split(":"))


def in_image(layout, command, user=0, capabilities=""):
    """Runs a command in what an image unpacks to, with a container's /proc and devices."""
    with tempfile.TemporaryDirectory(prefix="branchline-image-") as root:
        for layer in manifest(layout)["layers"]:
            run("tar", "-xpf", str(blob(layout, layer["digest"])), "-C", root)
        script = f"""
            set -e
            cd {root}
            mkdir -p proc dev/net
            mount -t proc proc proc
            mount -t tmpfs tmpfs run
            for device in null urandom net/tun; do
                touch dev/$device && mount --bind /dev/$device dev/$device
            done
            inside() {{
                setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid{capabilities} \\
                    chroot --userspec={user}:{user} . "$@"
            }}
            {command}
            """
        status, said = outcome(
            "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script,
            seconds_max=120)
        assert status == 0, said
        return said


@pytest.mark.parametrize("name", ["branchline", "branchline-coordinator"])
def test_skopeo_takes_the_image(images, scratch, programs, name):
    source = f"oci:{images / name}:{version(programs)}"
    assert json.loads(run("skopeo", "inspect", source))["Os"] == "linux"
    # Every digest is looked at on the way.
    (scratch / "copied").mkdir(exist_ok=True)
    run("skopeo", "copy", source, f"dir:{scratch / 'copied' / name}")


def test_image_built_twice_is_the_same(images, scratch, programs):
    again = build(scratch / "again-images", programs)
    for name in ("branchline", "branchline-coordinator"):
        assert (again / name / "index.json").read_text() == (
            images / name / "index.json").read_text()


def test_coordinator_of_the_image_serves_without_any_privilege(images):
    layout = images / "branchline-coordinator"
    configuration = json.loads(blob(layout, manifest(layout)["config"]["digest"]).read_text())
    assert configuration["config"]["User"] == f"{USER}:{USER}"
    said = in_image(layout, """
        state=/var/lib/branchline-coordinator
        inside /usr/bin/branchline-coordinator serve --state $state --listen 127.0.0.1:0 >said &
        for _ in $(seq 100); do grep -q 'Coordinator at' said && break; sleep 0.1; done
        cat said
        inside /usr/bin/cat $state/setup-code
        """, user=USER)
    assert "Coordinator at https://" in said
    assert re.search(r"^bls_", said, re.MULTILINE)


def test_gateway_of_the_image_serves_a_tenant_with_the_capabilities_of_the_manifest(images):
    said = in_image(images / "branchline", """
        ip link set lo up
        inside /usr/bin/branchlined --foreground --gateway /var/lib/branchline/gateway &
        for _ in $(seq 100); do
            inside /usr/bin/branchline gateway show | grep 'runs on UDP port' && break
            sleep 0.1
        done
        inside /usr/bin/branchline gateway add acme --table 100 --address 10.0.0.1/24
        ip -brief address
        """, capabilities=",+net_admin,+bpf")
    assert "acme is served as acme0 in table 100" in said
    assert "10.0.0.1/24" in said


@pytest.mark.parametrize("name", ["coordinator", "gateway"])
def test_kubernetes_takes_the_manifest(name):
    pytest.importorskip("kubernetes_validate")
    tool = Path(sys.executable).with_name("kubernetes-validate")
    run(str(tool), "--strict", f"Packaging/kubernetes/{name}.yaml")


def test_rpmlint_has_nothing_to_say():
    assert "0 errors" in run("rpmlint", "Packaging/rpm/branchline.spec")


def test_rpm_packages_have_the_files_of_debians(scratch, programs, packages):
    run("rpmbuild", "-bb", "--nodeps",
        # What systemd-rpm-macros has where RPM is at home.
        "--define", "_unitdir /usr/lib/systemd/system",
        "--define", "_tmpfilesdir /usr/lib/tmpfiles.d",
        "--define", "_sysusersdir /usr/lib/sysusers.d",
        "--define", f"_topdir {scratch / 'rpm'}", "--define", "_binary_payload w0.gzdio",
        "--define", f"project {PROJECT}", "--define", f"programs {programs}",
        "Packaging/rpm/branchline.spec")
    for name, package in packages.items():
        made = next((scratch / "rpm" / "RPMS").glob(f"*/{name}-[0-9]*.rpm"))
        ours = set(run("rpm", "--query", "--package", "--list", str(made)).split())
        # Manual pages are compressed, and builds have numbers, as a distribution has it.
        ours = {path for path in ours if not path.startswith("/usr/lib/.build-id")}
        ours = {path.removesuffix(".gz") for path in ours}
        theirs = run("dpkg-deb", "--contents", str(package)).splitlines()
        theirs = {
            line.split()[5][1:].removesuffix(".gz") for line in theirs if not line.startswith("d")}
        theirs = {path for path in theirs if not path.startswith(("/usr/share/doc/",
                                                                  "/usr/share/lintian/"))}
        theirs = {path.replace("vendor-completions", "site-functions") for path in theirs}
        theirs = {"/usr" + path if path.startswith("/lib/") else path for path in theirs}
        assert ours - {"/usr/libexec/branchline"} == theirs
