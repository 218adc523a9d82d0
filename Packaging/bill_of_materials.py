#!/usr/bin/env python3
"""Writes the software bill of materials of the programs, as CycloneDX 1.5 in JSON.

    bill_of_materials.py PROGRAMS [RESOLVED]

PROGRAMS is the folder of the programs as they are packaged; RESOLVED is the Package.resolved that
they were built with (that of the project if nothing is given). Listed are the programs with their
digests, Swift's runtime and the Swift packages that they contain, and Debian's packages whose
libraries they load. The same programs on the same system give the same text: the time is that of
SOURCE_DATE_EPOCH.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import uuid
from pathlib import Path

NAMES = ("branchline", "branchlined", "branchline-coordinator")


def main(folder, resolved):
    programs = [Path(folder) / name for name in NAMES]
    version = output(str(programs[0]), "--version").strip()
    swift = [swift_runtime(), *swift_packages(resolved)]
    debian = {program.name: debian_packages(program) for program in programs}
    applications = [application(program, version) for program in programs]
    libraries = {
        each["bom-ref"]: each for packages in debian.values() for each in packages}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": moment(),
            "component": {
                "type": "application", "bom-ref": "branchline-suite", "name": "branchline-suite",
                "version": version, "components": applications},
        },
        "components": swift + [libraries[key] for key in sorted(libraries)],
        "dependencies": [
            {"ref": "branchline-suite", "dependsOn": [each["bom-ref"] for each in applications]},
            # Which of the Swift packages a program contains is the linker's decision.
            *({"ref": each["bom-ref"],
               "dependsOn": [package["bom-ref"] for package in swift + debian[each["name"]]]}
              for each in applications),
        ],
    }
    # Named after what it says, so that equal bills have equal names.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bill)).urn
    json.dump(bill, sys.stdout, indent=2)
    print()


def application(program, version):
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return {
        "type": "application", "bom-ref": program.name, "name": program.name, "version": version,
        "hashes": [{"alg": "SHA-256", "content": digest}]}


def swift_runtime():
    """That of the compiler here, which is linked into the programs."""
    version = re.search(r"Swift version (\S+)", output("swift", "--version"))[1]
    purl = f"pkg:generic/swift@{version}"
    return {
        "type": "framework", "bom-ref": purl, "name": "swift", "version": version, "purl": purl,
        "externalReferences": [{"type": "website", "url": "https://www.swift.org"}]}


def swift_packages(resolved):
    """What SwiftPM has written down: packages at versions and commits."""
    pins = json.loads(Path(resolved).read_text())["pins"]
    return [swift_package(pin) for pin in sorted(pins, key=lambda pin: pin["identity"])]


def swift_package(pin):
    location = re.sub(r"\.git$", "", pin["location"])
    namespace, name = location.removeprefix("https://").rsplit("/", 1)
    revision = pin["state"]["revision"]
    version = pin["state"].get("version", revision)
    purl = f"pkg:swift/{namespace}/{name}@{version}"
    return {
        "type": "library", "bom-ref": purl, "group": namespace, "name": name, "version": version,
        "purl": purl,
        "externalReferences": [
            {"type": "vcs", "url": location, "comment": f"commit {revision}"}]}


def debian_packages(program):
    """The packages of the libraries that a program loads, and of those that these load."""
    paths = set(re.findall(r"(/\S+) \(0x", output("ldd", str(program))))
    names = {package_of(path) for path in paths}
    return [debian_package(name) for name in sorted(names)]


def package_of(path):
    # A library is recorded by the path that its package gave it, before or after /usr was merged.
    path = os.path.realpath(path)
    for candidate in (path, path.removeprefix("/usr")):
        answer = subprocess.run(
            ["dpkg-query", "--search", candidate], capture_output=True, text=True)
        if answer.returncode == 0:
            return answer.stdout.rsplit(": ", 1)[0].split(",")[0]
    sys.exit(f"{path} belongs to no package of Debian")


def debian_package(name):
    fields = output(
        "dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}", name)
    package, version, architecture = fields.split("\t")
    release = platform.freedesktop_os_release()
    purl = (f"pkg:deb/debian/{package}@{version}?arch={architecture}"
            f"&distro={release['ID']}-{release['VERSION_ID']}").replace("+", "%2B")
    return {
        "type": "library", "bom-ref": purl, "name": package, "version": version, "purl": purl}


def moment():
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    return datetime.datetime.fromtimestamp(
        seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: bill_of_materials.py PROGRAMS [RESOLVED]")
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3
         else Path(__file__).parents[1] / "Package.resolved")
