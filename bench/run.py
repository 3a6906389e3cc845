#!/usr/bin/env python3
"""Compares legwork with the tools people use instead, on this machine, now.

    python3 bench/run.py                 all figures
    python3 bench/run.py mirror delay    some of them
    python3 bench/run.py --limits delay  with all limits on each job

Needs Python 3.11, a release build (`cargo build --release`), and the other tools; as root on Debian
it installs those itself. The results are printed, and written to bench/results as JSON.
"""

import argparse
import contextlib
import datetime
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import figures
from kit import held, tools
from kit.measure import RUNS_MIN, Figure


def main() -> int:
    """Run what the arguments name; 0 when every bar holds."""
    known = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    parser = argparse.ArgumentParser(description="Compares legwork with other tools.")
    parser.add_argument("names", nargs="*", metavar="figure", help=", ".join(known))
    parser.add_argument("--runs", type=int, default=7, help=f"of each side, at least {RUNS_MIN}")
    parser.add_argument(
        "--limits", action="store_true", help="give each job all limits that there can be"
    )
    arguments = parser.parse_args()
    if strangers := set(arguments.names) - set(known):
        parser.error(f"no such figure: {', '.join(strangers)}; there are {', '.join(known)}")
    try:
        print(f"{tools.machine()}\n{tools.version(str(tools.legwork()), 'version')}\n")
        names, runs = arguments.names or known, max(arguments.runs, RUNS_MIN)
        with held.every_job() if arguments.limits else contextlib.nullcontext() as limits:
            found = _measure(names, runs, limits)
    except tools.MissingError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    path = _write(found)
    print(f"\nwritten to {path}")
    return 0 if all(figure.holds for figure in found) else 1


def _measure(names: list[str], runs: int, limits: str | None) -> list[Figure]:
    found = []
    for name in names:
        for plain in importlib.import_module(f"figures.{name}").measure(runs):
            figure = plain.held(limits) if limits else plain
            print(figure.line(), flush=True)
            found.append(figure)
    return found


def _write(found: list[Figure]) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    directory = Path(__file__).parent / "results"
    directory.mkdir(exist_ok=True)
    path = directory / f"{now:%Y%m%dT%H%M%SZ}.json"
    record = {
        "date": now.isoformat(timespec="seconds"),
        "machine": tools.machine(),
        "legwork": tools.version(str(tools.legwork()), "version"),
        "rsync": tools.version("rsync", "--version"),
        "conmon": tools.version("conmon", "--version"),
        "lsyncd": tools.version("lsyncd", "--version"),
        "tsp": tools.version("tsp", "-V"),
        "figures": [figure.record() for figure in found],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
