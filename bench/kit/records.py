"""Records as a service would log them: JSON of 300 bytes each, no two alike."""

from pathlib import Path

LENGTH = 300
_FORM = (
    b'{"time":"2026-11-22T12:21:35.%06dZ","level":"info","service":"checkout","host":"web-%02d",'
    b'"pid":%d,"request_id":"7f3a9c%010d","method":"POST","path":"/api/v1/orders/%07d",'
    b'"status":200,"duration_ms":%d.%03d,"bytes":%d,"user":{"id":%d,"plan":"pro"},'
    b'"message":"order accepted and sent"}'
)


def records(count: int) -> list[bytes]:
    """So many of them."""
    made = [_record(n) for n in range(count)]
    assert {len(record) for record in made} == {LENGTH}
    return made


def _record(n: int) -> bytes:
    numbers = (n % 1_000_000, n % 97, 1000 + n % 500, n, n, 10 + n % 80, n % 1000, 1300 + n % 4000)
    return _FORM % (*numbers, 10_000_000 + n)


def write(path: Path, made: list[bytes]) -> Path:
    """A line each."""
    path.write_bytes(b"\n".join(made) + b"\n")
    return path
