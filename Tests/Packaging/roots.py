"""Root file systems of Debian in temporary folders, and commands in them.

A minimal system is made once by debootstrap and kept as a tarball in CACHE, with the packages that
apt has fetched; what is unpacked from it is gone when its user is done. Commands run in a mount and
process namespace of their own, so that no mount and no process stays behind.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CACHE = Path(os.environ.get("BRANCHLINE_TEST_CACHE", "/var/cache/branchline-tests"))
TARBALL_SECONDS_MAX = 7 * 86_400
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive"}


@contextlib.contextmanager
def unpacked():
    """A fresh root, as long as the block lasts."""
    folder = tempfile.mkdtemp(prefix="branchline-root-")
    try:
        subprocess.run(["tar", "-xpf", tarball(), "-C", folder], check=True)
        os.chmod(folder, 0o755)
        yield Root(Path(folder))
    finally:
        shutil.rmtree(folder)


class Root:
    def __init__(self, path):
        self.path = path

    def run(self, command, check=True):
        """Runs a line of shell in the root, and returns what it said: output and errors."""
        prepare = (
            f"mount -t proc proc {self.path}/proc && "
            f"mount --bind {CACHE}/archives {self.path}/var/cache/apt/archives && "
            f"exec chroot {self.path} /bin/sh -c {shlex.quote(command)}")
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", prepare],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=ENVIRONMENT, timeout=600)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def add(self, *files):
        """Copies files into /root, and returns their paths there."""
        for file in files:
            shutil.copy(file, self.path / "root")
        return [f"/root/{Path(file).name}" for file in files]

    def status(self, path):
        return os.lstat(f"{self.path}{path}")

    def text(self, path):
        return Path(f"{self.path}{path}").read_text()

    def exists(self, path):
        return os.path.lexists(f"{self.path}{path}")

    def users(self):
        return {
            line.split(":")[0]: line.split(":") for line in self.text("/etc/passwd").splitlines()}

    def files(self):
        """Kind, permissions and owner of all that packages and their scripts could leave."""
        found = self.run(
            r"find / -xdev \( -path /proc -o -path /root -o -path /tmp -o -path /var/cache "
            r"-o -path /var/lib/dpkg -o -path /var/log \) -prune -o -printf '%p %y %m %u:%g\n'")
        return {line for line in found.splitlines() if not line.startswith(BOOKKEEPING)}


# What dpkg, ldconfig and the tools of users rewrite whenever they run, and keep copies of.
BOOKKEEPING = (
    "/etc/ld.so.cache ", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow",
    "/etc/.pwd.lock ", "/var/lib/systemd/deb-systemd-helper-")


def tarball():
    """That of a minimal system, made anew once it is too old for apt's lists."""
    path = CACHE / f"{codename()}.tar"
    if path.exists() and time.time() - path.stat().st_mtime < TARBALL_SECONDS_MAX:
        return path
    (CACHE / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="branchline-debootstrap-")
    try:
        subprocess.run(
            ["debootstrap", "--variant=minbase", codename(), folder, mirror()],
            check=True, stdout=subprocess.DEVNULL)
        draft = path.with_suffix(".draft")
        subprocess.run(["tar", "-cpf", draft, "-C", folder, "."], check=True)
        draft.rename(path)
    finally:
        shutil.rmtree(folder)
    return path


def codename():
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.split("=")[1] for line in lines if line.startswith("VERSION_CODENAME="))


def mirror():
    """Where apt here gets Debian's packages from."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
         "Identifier: Packages"], check=True, capture_output=True, text=True).stdout
    wanted = ["main"]
    for line in targets.splitlines():
        uri, release, *component = line.split()
        if release == codename() and component == wanted:
            return uri
    raise AssertionError("apt knows no mirror of Debian")
