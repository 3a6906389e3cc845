"""Fixtures: the binary, the users, and a private place for each test."""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import processes
from harness.host import Host, User
from harness.relay import Relay
from harness.serving import LISTEN, Away, Serving
from harness.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SELF = User("self")

# Programs inherit what is ignored, and nohup(1) ignores this for a whole gate.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# And a shell ignores this for what it starts in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _nobody() -> User:
    entry = pwd.getpwnam("nobody")
    return User("nobody", entry.pw_uid, entry.pw_gid)


def _users() -> list[User]:
    """The tests' own user and, when that is root, one without any rights."""
    return [SELF, _nobody()] if os.geteuid() == 0 else [SELF]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test as every user, except those that say once is enough."""
    if "user" in metafunc.fixturenames:
        once = metafunc.definition.get_closest_marker("once")
        users = [SELF] if once else _users()
        metafunc.parametrize("user", users, ids=lambda user: user.name, scope="function")


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The binary under test: ``LEGWORK_BIN``, or the release build."""
    path = Path(os.environ.get("LEGWORK_BIN", ROOT / "target/release/legwork")).resolve()
    if not path.exists():
        pytest.exit(f"{path} is not there: cargo build --release, or set LEGWORK_BIN", 2)
    return path


@pytest.fixture(scope="session")
def binary(shipped: Path) -> Iterator[Path]:
    """A copy of the binary where every user can execute it."""
    with tempfile.TemporaryDirectory(prefix="legwork-bin-") as directory:
        Path(directory).chmod(0o755)
        copy = Path(directory) / "legwork"
        shutil.copyfile(shipped, copy)
        copy.chmod(0o755)
        yield copy


@pytest.fixture
def top(user: User) -> Iterator[Path]:
    """A directory that the user owns and that nobody has used before."""
    with tempfile.TemporaryDirectory(prefix="legwork-test-", ignore_cleanup_errors=True) as made:
        directory = Path(made).resolve()
        directory.chmod(0o755)
        yield user.owns(directory)


def _leaves_nothing(place: Host) -> None:
    """Fail when processes of its jobs are left."""
    try:
        until(lambda: not place.leftovers(), "no process of the test's jobs is left")
    except AssertionError:
        left = place.leftovers()
        words = [processes.describe(pid) for pid in left]
        for pid in left:
            processes.kill(pid)
        pytest.fail(f"processes left behind: {words}")


@pytest.fixture
def host(binary: Path, top: Path, user: User) -> Iterator[Host]:
    """A user's private place; at the end no process of its jobs may be left."""
    place = Host(binary, top, user)
    yield place
    _leaves_nothing(place)


def _beside(binary: Path, top: Path, user: User, name: str) -> Iterator[Host]:
    directory = top / name
    directory.mkdir()
    place = Host(binary, user.owns(directory), user)
    yield place
    _leaves_nothing(place)


@pytest.fixture
def laptop(binary: Path, top: Path, user: User) -> Iterator[Host]:
    """Another place, which has nothing to do with the first but for the network between them."""
    yield from _beside(binary, top, user, "laptop")


@pytest.fixture
def elsewhere(binary: Path, top: Path, user: User) -> Iterator[Host]:
    """A third place."""
    yield from _beside(binary, top, user, "elsewhere")


@pytest.fixture
def serving(host: Host) -> Iterator[Serving]:
    """A server with an authority, on a free port."""
    with Serving(host, *LISTEN, "--init") as server:
        yield server


@pytest.fixture
def away(host: Host, laptop: Host) -> Iterator[Away]:
    """A server, and a laptop whose current context it is: `box`, as alice."""
    with Relay() as relay:
        server = Serving(host, *LISTEN, "--init", "--advertise", relay.address)
        relay.lead_to(server.address)
        place = Away(host, laptop, server, relay)
        try:
            place.join(laptop, "alice")
            yield place
        finally:
            place.server.__exit__()
