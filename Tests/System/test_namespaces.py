"""A device that was moved to another network namespace, as containers do it."""

import time

from lab import branchlined, wait_until
from pairs import OWN
from tunnel import echo


def move(tunnel):
    """Moves the subject's device, its addresses with it. Returns the new namespace."""
    subject = tunnel.subject
    name, old = subject.daemon.name, subject.namespace
    inner = tunnel.lab.namespace()
    old.configure(f"link set {name} netns {inner.name}")
    subject.namespace = inner
    inner.configure(
        f"address add {subject.inner(4)}/24 dev {name}",
        f"address add {subject.inner(6)}/64 dev {name} nodad", f"link set {name} mtu 1420 up")
    return inner


def test_device_in_another_namespace_carries_traffic_and_is_followed(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    inner = move(tunnel)
    tunnel.passes(seconds=12)
    daemon = tunnel.subject.daemon
    inner.configure(f"link set {daemon.name} mtu 1300")
    wait_until(lambda: daemon.status()["mtu"] == "1300", 5, "the new MTU is known")
    inner.configure(f"link set {daemon.name} down")
    time.sleep(1.5)
    inner.configure(f"link set {daemon.name} up")
    tunnel.passes(seconds=12)


def test_process_ends_with_the_namespace_of_its_device(lab):
    """A socket that watched the device in there would keep both alive for ever."""
    tunnel = OWN[0].build(lab)
    inner = move(tunnel)
    tunnel.passes(seconds=12)
    inner.remove()
    daemon = tunnel.subject.daemon
    daemon.process.wait(30)
    assert daemon.process.returncode == 0, daemon.log
    assert not daemon.socket_path.exists()


def test_device_deleted_elsewhere_ends_the_process(lab):
    tunnel = OWN[0].build(lab)
    inner = move(tunnel)
    echo(tunnel.subject, tunnel.other, seconds=12)
    inner.configure(f"link del {tunnel.subject.daemon.name}")
    tunnel.subject.daemon.process.wait(30)
    assert tunnel.subject.daemon.process.returncode == 0
