"""Two versions of the binary, each of which looks at what the other has begun: ``run.py OLD NEW``.

A line for each check. The newer one has to do everything, but for what a shim of the older one
cannot do; the older one may say that it does not understand what the newer one wrote. Neither may
harm a job of the other.
"""

import sys
from pathlib import Path

from checks import CHECKS
from place import Place, Refused

RAISED_BY_OLD_SHIMS = "SHIM_TOO_OLD"


def _holds(check: object, first: Path, second: Path, *, is_upgrade: bool) -> str:
    """The verdict on one check: what to print before its name, and after it."""
    with Place() as place:
        try:
            check(place, first, second)  # type: ignore[operator]
        except Refused as refusal:
            told = str(refusal).replace(str(place.top), "")
            excused = not is_upgrade or told.startswith(RAISED_BY_OLD_SHIMS)
            return f"refused  {told}" if excused else f"FAILED   refused: {told}"
        except Exception as problem:
            return f"FAILED   {type(problem).__name__}: {problem}"
    return "holds"


def main() -> int:
    """Run every check in both directions."""
    old, new = (Path(word).resolve() for word in sys.argv[1:3])
    failed = 0
    for title, first, second in (
        ("the older one begins, the newer one looks", old, new),
        ("the newer one begins, the older one looks", new, old),
    ):
        print(f"{title}:", flush=True)
        for check in CHECKS:
            verdict = _holds(check, first, second, is_upgrade=second == new)
            word, _, words = verdict.partition("  ")
            print(f"  {word:<8} {check.__name__.replace('_', ' ')}", flush=True)
            if words:
                print(f"           {words.strip()}", flush=True)
            failed += word == "FAILED"
    print(f"{failed} failed" if failed else "each leaves the other's jobs as they are")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
