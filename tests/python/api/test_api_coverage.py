"""Every method of every service was called by a test of this directory, and once in vain."""

from pathlib import Path

import grpc
import pytest
from harness.api import Recorder, Stubs

pytestmark = pytest.mark.once


def test_every_method_was_called_and_refused(
    request: pytest.FixtureRequest, stubs: Stubs, recorder: Recorder
) -> None:
    here = Path(__file__).parent
    ran = {item.path for item in request.session.items}
    if not ran >= set(here.glob("test_*.py")) or request.config.getoption("keyword"):
        pytest.skip("only some of the tests of this directory were run")
    methods = stubs.methods()
    good = {path for path, ends in recorder.seen.items() if grpc.StatusCode.OK in ends}
    # Goes on until the server ends it.
    watch = "/grpc.health.v1.Health/Watch"
    good |= {watch} if grpc.StatusCode.UNAVAILABLE in recorder.seen[watch] else set()
    bad = {
        path
        for path, ends in recorder.seen.items()
        if ends - {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, None}
    }
    assert methods - good == set(), "no test calls these with success"
    assert methods - bad == set(), "no test has these refused"
