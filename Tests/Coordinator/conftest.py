"""Fixtures: a coordinator on each storage, founded and with one tenant."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from coordinator import Coordinator, Database, database_server, program  # noqa: E402

# What tests do in a second from one address is what thousands of nodes do.
NO_LIMITS = ["--rate-limit", "100000", "--enrolment-rate-limit", "100000",
             "--caller-rate-limit", "100000"]
STORAGES = ["sqlite", "postgresql"]


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if not shutil.which(program()):
        pytest.exit(f"{program()} does not exist; build it or set COORDINATOR", 2)
    if database_server() is None:
        print("BRANCHLINE_TEST_POSTGRESQL is not set: tests on PostgreSQL are skipped")


def pytest_generate_tests(metafunc):
    if "storage" not in metafunc.fixturenames:
        return
    storages = STORAGES
    for name in STORAGES:
        if metafunc.definition.get_closest_marker(f"{name}_only"):
            storages = [name]
    metafunc.parametrize("storage", storages, indirect=True)


@pytest.fixture
def storage(request):
    """A PostgreSQL database of its own, or None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    if database_server() is None:
        pytest.skip("BRANCHLINE_TEST_POSTGRESQL is not set")
    database = Database()
    yield database
    database.drop()


@pytest.fixture
def make(storage):
    """Makes coordinators on one storage; all go with the test."""
    made = []

    def one(options=(), **more):
        coordinator = Coordinator(
            storage.text if storage else None, options=[*NO_LIMITS, *options], **more)
        made.append(coordinator)
        return coordinator

    yield one
    for coordinator in made:
        coordinator.close()


@pytest.fixture
def empty(make):
    """A running coordinator without an organisation."""
    return make().start()


@pytest.fixture
def founded(empty):
    """A running coordinator with an organisation and the tenant acme."""
    empty.found()
    empty.add_tenant()
    return empty
