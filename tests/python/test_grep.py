"""`logs --grep`: lines that match and no others, found on the server, past and live, each once."""

import base64
import json
import random
import re
import time

import pytest
from harness.host import Host
from harness.relay import DOWN
from harness.serving import Away
from harness.waiting import DEADLINE_S, until
from harness.watching import PRINTS, in_order, open_gate

MIB = 1 << 20


def gated(host: Host, script: str) -> str:
    """Start a script that may wait for gates in a place of its own."""
    return host.shell(script, options=["--dir", str(host.tmp)])


def gate(name: str) -> str:
    return f"while ! test -e {name}; do sleep 0.01; done"


def test_lines_that_match_and_whether_there_are_any(host: Host) -> None:
    job = host.shell("echo one; echo two; echo Three.; printf 'one more'")
    host.finished(job)
    for found, *words in [
        (b"one\none more\n", "one"),
        (b"one\n", "^one$"),
        (b"two\nThree.\n", "t(w|.r)", "-i"),
        (b"Three.\n", ".", "--fixed"),
        (b"one\ntwo\nThree.\none more\n", ""),
        (b"", "-x"),
        (b"", "four"),
    ]:
        result = host.run("logs", job, "--grep", *words)
        assert (result.out, result.err, result.code) == (found, b"", 0 if found else 1), words


@pytest.mark.once
def test_what_cannot_be_searched_for(host: Host) -> None:
    job = host.shell("echo aaa")
    host.finished(job)
    for pattern, words in [
        ("a(", "unclosed group (at character 2)"),
        (r"(.)\1", "backreferences"),
        ("a\nb", "newline"),
        ("(a{1000}){1000}", "too large"),
        ("((((((a{99}){99}){99}){99}){99}){99})", "too large"),
        ("x" * 100_000, "longer than"),
    ]:
        before = time.monotonic()
        result = host.run("logs", job, "--json", "--grep", pattern).expect(2)
        assert time.monotonic() - before < 20
        assert result.out == b""
        error = result.error()
        assert error["reason"] == "BAD_PATTERN"
        assert words in error["message"]
    assert "--fixed" in host.run("logs", job, "--grep", "(").expect(2).error_text
    host.run("logs", job, "-i").expect(2)
    host.run("logs", job, "--fixed").expect(2)
    host.run("logs", job, "--grep").expect(2)
    host.run("logs", "zzzzzzzz", "--grep", "a").expect(5)


@pytest.mark.once
def test_bytes_that_are_no_text(host: Host) -> None:
    path = host.tmp / "blob"
    lines = [b"a\xff\xfeb", b"\x00\x80", "größe".encode(), b"end\r", b"\xc3\xb6\xff"]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    job = host.start("cat", path)
    host.finished(job)

    def found(*words: str) -> list[bytes]:
        return host.run("logs", job, "--grep", *words).out.splitlines(keepends=True)

    assert found("b") == [b"a\xff\xfeb\n"]
    assert found(r"(?-u:\xff)") == [b"a\xff\xfeb\n", b"\xc3\xb6\xff\n"]
    assert found(r"^\w+$") == ["größe\n".encode(), b"end\r\n"], "a line may end with two bytes"
    assert found("GRÖSSE", "-i") == []
    assert found("GRÖßE", "-i") == ["größe\n".encode()]
    assert found(r"\x00") == [b"\x00\x80\n"]


@pytest.mark.once
def test_each_stream_has_its_own_lines(host: Host) -> None:
    job = gated(
        host,
        f"printf 'hal'; {gate('one')}; echo 'error, halt' >&2; {gate('two')}; echo 't; no error'",
    )
    host.printed(job, b"hal")
    (host.tmp / "one").touch()
    host.printed(job, b"error, halt\n")
    (host.tmp / "two").touch()
    host.finished(job)
    both = host.run("logs", job, "--grep", "halt").expect(0)
    assert (both.out, both.err) == (b"halt; no error\n", b"error, halt\n")
    raw = host.run("logs", job, "--grep", "error", "--stream", "raw").expect(0)
    assert raw.out == b"error, halt\nhalt; no error\n"
    stderr = host.run("logs", job, "--grep", "error", "--stream", "stderr").expect(0)
    assert stderr.out == b"error, halt\n"
    assert host.run("logs", job, "--grep", "no", "--stream", "stderr").expect(1).out == b""


@pytest.mark.once
def test_from_an_offset_and_of_the_last_lines(host: Host) -> None:
    job = host.start("seq", "1", "3000")
    host.finished(job)
    last = host.run("logs", job, "--tail", "20", "--grep", "9$").expect(0)
    assert last.out == b"2989\n2999\n", "the last lines are searched"
    host.run("logs", job, "--tail", "3", "--grep", "9$").expect(0)
    host.run("logs", job, "--tail", "1", "--grep", "9$").expect(1)
    found = host.ok("logs", job, "--grep", "^1500$", "--json").splitlines()
    (line, end) = map(json.loads, found)
    assert (line["event"], line["data"], line["stream"]) == ("output", "1500\n", "stdout")
    assert end["event"] == "end"
    rest = host.run("logs", job, "--offset", str(line["offset"])).expect(0).out
    assert rest.startswith(b"1500\n1501\n")
    after = host.run("logs", job, "--offset", str(line["offset"] + 1), "--grep", "00$").expect(0)
    assert after.out == b"500\n" + b"".join(b"%d\n" % n for n in range(1600, 3001, 100))


@pytest.mark.once
def test_json_has_a_value_for_each_line(host: Host) -> None:
    job = host.shell(r"printf 'a1\n'; echo b >&2; printf 'c\na2\na\377\na'")
    host.finished(job)
    events = [json.loads(e) for e in host.ok("logs", job, "--grep", "a", "--json").splitlines()]
    data = [event["data"] for event in events[:-1]]
    raw = base64.b64encode(b"a\xff\n").decode()
    assert data == ["a1\n", "a2\n", {"base64": raw}, "a"]
    whole = host.output(job)
    assert [whole[e["offset"] :][:1] for e in events[:-1]] == [b"a"] * 4
    assert events[-1]["job"]["finish"]["exitCode"] == 0
    none = host.run("logs", job, "--grep", "x", "--json").expect(1)
    assert json.loads(none.out)["event"] == "end"


@pytest.mark.once
def test_times_stand_before_the_lines_found(host: Host) -> None:
    job = host.shell("echo one; echo two; printf three")
    host.finished(job)
    lines = host.ok("logs", job, "--timestamps", "--grep", "t").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ", "", line) for line in lines] == ["two", "three"]
    assert all(len(line) > 20 for line in lines)


def test_live_lines_are_shown_when_they_are_complete(host: Host) -> None:
    job = gated(
        host,
        f"echo hit 1; echo no; printf hi; {gate('one')}; echo t 2; {gate('two')}; printf 'hit 3'",
    )
    host.printed(job, b"no\nhi")
    assert host.run("logs", job, "--grep", "hi").expect(0).out == b"hit 1\nhi\n", "as it is now"
    follower = host.popen("logs", "-f", job, "--grep", "hit")
    assert follower.stdout
    assert follower.stdout.readline() == b"hit 1\n"
    (host.tmp / "one").touch()
    assert follower.stdout.readline() == b"hit 2\n"
    nothing = host.popen("logs", "-f", job, "--grep", "miss")
    (host.tmp / "two").touch()
    assert follower.communicate(timeout=DEADLINE_S)[0] == b"hit 3\n"
    assert follower.returncode == 0
    assert nothing.communicate(timeout=DEADLINE_S)[0] == b""
    assert nothing.returncode == 1


@pytest.mark.once
def test_what_was_not_kept_is_told_and_ends_a_line(host: Host) -> None:
    job = host.start("seq", "1", "200000", options=["--output-limit", "64KiB"])
    host.finished(job)
    events = [json.loads(line) for line in host.ok("logs", job, "--json").splitlines()]
    gaps = [event for event in events if event["event"] == "gap"]
    assert gaps
    kept: list[bytes] = [b""]
    for event in events:
        if event["event"] == "output":
            kept[-1] += event["data"].encode()
        elif event["event"] == "gap":
            kept.append(b"")
    expected = [line for part in kept for line in part.splitlines() if b"7" in line]
    searched = host.run("logs", job, "--grep", "7").expect(0)
    assert searched.out.splitlines() == expected
    assert b"not kept" in searched.err
    found = [json.loads(e) for e in host.ok("logs", job, "--grep", "7", "--json").splitlines()]
    assert [event for event in found if event["event"] == "gap"] == gaps
    assert found[-1]["event"] == "end"
    offsets = [event["offset"] for event in found]
    assert offsets == sorted(offsets)


@pytest.mark.once
def test_a_line_that_is_too_long_is_searched_in_pieces(host: Host) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo needle; echo short"
    job = host.shell(script)
    host.finished(job)
    found = host.run("logs", job, "--grep", "needle").expect(0).out
    assert found == b"x" * (3_000_000 - 2 * MIB) + b"needle\n"
    assert host.run("logs", job, "--grep", "xx").expect(0).out == b"x" * 3_000_000 + b"needle\n"


@pytest.mark.once
def test_only_what_matches_travels(away: Away, laptop: Host) -> None:
    job = laptop.start("seq", "1", "3000000")
    away.host.finished(job)
    before = sum(link.passed[DOWN] for link in away.relay.links)
    assert laptop.run("logs", job, "--grep", "^2999999$").expect(0).out == b"2999999\n"
    assert laptop.run("logs", job, "--grep", "x").expect(1).out == b""
    assert sum(link.passed[DOWN] for link in away.relay.links) - before < 32_000


@pytest.mark.once
def test_a_search_that_is_cut_anywhere_goes_on_where_it_was(away: Away, laptop: Host) -> None:
    chance = random.Random(4)
    path = away.host.tmp / "lines"
    words = [b"hit", b"miss", b"h\xffit", b"-" * 300]
    parts = [chance.choice(words) + b" %d\n" % n for n in range(120_000)]
    path.write_bytes(b"".join(parts))
    job = laptop.shell(f"cat {path} & cat {path} >&2; wait")
    away.host.finished(job)
    expected = b"".join(part for part in parts if part.startswith(b"hit"))
    links = away.relay.links
    before = len(links)
    whole = laptop.run("logs", job, "--grep", "hit").expect(0)
    assert (whole.out, whole.err) == (expected, expected)
    (link,) = links[before:]
    end = link.passed[DOWN]
    assert end > len(expected)
    for place in [*range(3000, 3400, 25), *range(4000, end, end // 12), end - 40, end - 10]:
        before = len(links)
        away.relay.cut_next(place, direction=DOWN)
        result = laptop.run("logs", job, "--grep", "hit", "-f").expect(0)
        assert result.out == expected, place
        assert b"".join(re.findall(rb"^hit.*\n", result.err, re.MULTILINE)) == expected, place
        assert len(links) > before + 1 or place > end - 100
    # What was found among the last lines is not sought among later last lines.
    away.relay.cut_next(4000, 4000, direction=DOWN)
    tail = laptop.run("logs", job, "--tail", "2000", "--grep", ".", "--stream", "stdout").expect(0)
    assert tail.out.splitlines() == b"".join(parts[-2000:]).splitlines()


@pytest.mark.once
def test_a_live_search_is_cut_again_and_again(away: Away, laptop: Host) -> None:
    job = laptop.shell(PRINTS, options=["--dir", str(away.host.tmp)])
    away.host.printed(job, b"\n9\n")
    talking = away.relay.talking()
    follower = laptop.popen("logs", "-f", job, "--grep", "")
    for cuts in range(1, 5):
        until(lambda cuts=cuts: away.relay.talking() >= talking + cuts, "it is in contact")
        seen = len(away.host.output(job))
        until(lambda seen=seen: len(away.host.output(job)) > seen + 50, "it prints")
        away.relay.cut()
    open_gate(away.host)
    out, _ = follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 0
    in_order(out)
    assert out == away.host.output(job)


@pytest.mark.once
def test_a_search_that_nobody_waits_for_stops(away: Away, laptop: Host) -> None:
    job = laptop.shell("seq 1 2000000")
    away.host.finished(job)
    slow = [laptop.popen("logs", job, "--grep", "(.*)*x(.*)*y(.*)*z") for _ in range(4)]
    for process in slow:
        process.kill()
        process.communicate()
    before = time.monotonic()
    assert laptop.run("logs", job, "--grep", "^77$").expect(0).out == b"77\n"
    assert time.monotonic() - before < 20
