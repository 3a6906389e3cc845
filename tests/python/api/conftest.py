"""Fixtures: generated stubs, and a server with its first admin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.api import Recorder, Stubs
from harness.host import Host, Word
from harness.world import World

HERE = Path(__file__).parent
LAST = "test_api_coverage.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask for what was called when everything was."""
    items.sort(key=lambda item: item.path == HERE / LAST)


@pytest.fixture(scope="session")
def stubs() -> Stubs:
    """What the reference compiler makes of ``proto/``."""
    return Stubs()


@pytest.fixture(scope="session")
def recorder() -> Recorder:
    """Which methods were called, in the whole session."""
    return Recorder()


@pytest.fixture
def serve(host: Host, stubs: Stubs, recorder: Recorder) -> Iterator[Callable[..., World]]:
    """Start servers with settings of their own, the text of a settings file."""
    worlds: list[World] = []

    def start(settings: str = "", *args: Word) -> World:
        path = host.tmp / "server.toml"
        path.write_text(settings)
        worlds.append(World(host, stubs, recorder, "--config", path, *args))
        return worlds[-1]

    yield start
    for world in worlds:
        world.close()
    for log in host.tmp.glob("serve-*.log"):
        assert "panicked" not in log.read_text(), log.read_text()


@pytest.fixture
def world(serve: Callable[..., World]) -> World:
    """A server as it is without settings."""
    return serve()
