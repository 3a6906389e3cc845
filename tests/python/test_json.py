"""The shapes that programs rely on: `--json` of every command, and of errors."""

import json
from pathlib import Path

import pytest
from harness.host import Host

JOB = {"id", "shortId", "state", "owner", "argv", "dir", "labels", "createdAtMs"}
JOB_MORE = {"name", "workspace", "startedAtMs", "pid", "why", "finish", "user", "pausedAtMs"}
# Only of a job that was asked for by its id.
JOB_ALONE = {"limits", "containment"}
FINISH = {"cause", "exitCode", "endedAtMs", "outputEnd", "outputDropped"}


def _is_job(job: dict[str, object]) -> bool:
    return set(job) >= JOB and set(job) <= JOB | JOB_MORE


def test_lists_are_one_array(host: Host) -> None:
    assert host.json("ps") == []
    host.finished(host.start("true"))
    jobs = host.json("ps", "-a")
    assert len(jobs) == 1
    assert _is_job(jobs[0])
    assert set(jobs[0]["finish"]) >= FINISH


def test_a_long_list_is_one_array_on_one_line(host: Host) -> None:
    """Longer than what is printed in one piece, and than one page."""
    words = [f"{number}-{'x' * 200}" for number in range(505)]
    options = [part for word in words for part in ("-c", f": {word}")]
    started = host.ok("start", "--no-sync", *options)
    host.ok("wait", *started.split())
    listed = host.ok("ps", "-a", "--json")
    assert len(listed) > 128 << 10
    assert listed.index("\n") == len(listed) - 1
    jobs = json.loads(listed)
    assert [job["argv"][-1] for job in jobs] == [f": {word}" for word in reversed(words)]
    assert all(_is_job(job) for job in jobs)


def test_one_job_is_one_object(host: Host) -> None:
    job = host.start("sleep", "60")
    told = host.status(job)
    assert {"containment"} <= JOB_ALONE & set(told)
    assert _is_job({key: value for key, value in told.items() if key not in JOB_ALONE})
    host.ok("stop", job)


def test_start_names_its_jobs(host: Host) -> None:
    said = host.ok("start", "--json", "--no-sync", "-c", "true", "-c", "true")
    jobs = [json.loads(line) for line in said.splitlines()]
    assert len(jobs) == 2
    assert all(_is_job(job) for job in jobs)
    for job in jobs:
        host.finished(job["id"])


def test_run_is_a_stream_that_ends_with_the_job(host: Host) -> None:
    result = host.run("run", "--json", "--no-sync", "--", "sh", "-c", "echo a; exit 3").expect(3)
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[0]["event"] == "started"
    assert _is_job(events[0]["job"])
    assert events[-1]["event"] == "finished"
    assert events[-1]["job"]["finish"]["exitCode"] == 3
    assert [e["data"] for e in events if e["event"] == "output"] == ["a\n"]


def test_bytes_that_are_no_text_are_base64(host: Host) -> None:
    job = host.start("printf", b"\xff\xfe")
    seen = host.finished(job)
    assert seen["argv"] == ["printf", {"base64": "//4="}]
    events = [json.loads(line) for line in host.ok("logs", "--json", job).splitlines()]
    assert events[0]["data"] == {"base64": "//4="}


def test_a_character_that_is_printed_in_two_pieces_stays_text(host: Host) -> None:
    script = r"printf 'a\303'; sleep 0.2; printf '\244b'; sleep 0.2; printf '\342'"
    for result in (
        host.run("run", "--json", "--no-sync", "--", "sh", "-c", script),
        host.run("logs", "--json", "-f", host.shell(script)),
    ):
        events = [json.loads(line) for line in result.expect(0).out.splitlines()]
        output = [e for e in events if e["event"] == "output"]
        assert "".join(e["data"] for e in output[:-1]) == "aäb"
        assert (output[-1]["offset"], output[-1]["data"]) == (4, {"base64": "4g=="})


def test_wait_prints_the_jobs(host: Host) -> None:
    job = host.shell("exit 3")
    (seen,) = json.loads(host.run("wait", "--json", job).expect(3).text)
    assert seen["finish"]["exitCode"] == 3


def test_version_says_which(host: Host) -> None:
    value = host.json("version")
    assert value["version"].count(".") == 2
    assert value["version"] in host.ok("version")


def test_doctor_is_one_object(host: Host) -> None:
    assert isinstance(json.loads(host.ok("doctor", "--json")), dict | list)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("status", "zzzzzzzz"), "JOB_NOT_FOUND"),
        (("run", "--no-sync", "--", "no-such-program-anywhere"), "PROGRAM_NOT_FOUND"),
        (("run", "--no-sync", "--dir", "/nowhere", "--", "true"), "DIR_NOT_USABLE"),
        (("run", "--no-sync", "--timeout", "100ms", "--", "sleep", "60"), "TIMEOUT"),
        (("pull", "--workspace", "none", "*"), "WORKSPACE_NOT_FOUND"),
        (("run", "--timeout", "soon", "--", "true"), "USAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_errors_are_one_object(host: Host, arguments: tuple[str, ...], reason: str) -> None:
    error = host.run("--json", *arguments).error()
    assert set(error) == {"reason", "message", "retryable", "hint"}
    assert error["reason"] == reason
    assert isinstance(error["retryable"], bool)
    assert error["message"]


@pytest.mark.once
def test_names_are_those_of_the_protocol(host: Host, tmp_path: Path) -> None:
    descriptors = _descriptors(tmp_path)
    job = host.finished(host.shell("echo x"))
    _named(job, descriptors, "legwork.v1.Job")


def _descriptors(tmp_path: Path) -> dict[str, dict[str, str]]:
    """JSON names of each message's fields with the message they hold, by the reference compiler."""
    import grpc_tools
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    proto = Path(__file__).resolve().parents[2] / "proto"
    known = Path(grpc_tools.__file__).parent / "_proto"
    out = tmp_path / "set"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    arguments = ["protoc", f"-I{proto}", f"-I{known}", f"--descriptor_set_out={out}", *files]
    assert protoc.main(arguments) == 0
    described = FileDescriptorSet.FromString(out.read_bytes())
    return {
        f"{file.package}.{message.name}": {
            field.json_name: field.type_name.removeprefix(".") for field in message.field
        }
        for file in described.file
        for message in file.message_type
    }


def _named(value: dict[str, object], descriptors: dict[str, dict[str, str]], message: str) -> None:
    fields = descriptors[message]
    unknown = set(value) - set(fields) - {"truncated"}
    assert not unknown, f"{message} has no {unknown}"
    for name, inner in value.items():
        if isinstance(inner, dict) and fields.get(name) in descriptors:
            _named(inner, descriptors, fields[name])
