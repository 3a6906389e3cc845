"""Alternating runs and what is said about them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

RUNS_MIN = 5


@dataclass
class Series:
    """All runs of one side, in one unit."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle run."""
        return statistics.median(self.values)

    def text(self, unit: str, scale: float = 1.0, digits: int = 3) -> str:
        """Median and range in words."""
        low, high = min(self.values) * scale, max(self.values) * scale
        return f"{self.median * scale:.{digits}g} {unit} ({low:.{digits}g}-{high:.{digits}g})"


@dataclass
class Figure:
    """One result: both sides, how they compare, and the bar."""

    name: str
    what: str
    legwork: Series
    anchor: Series | None
    anchor_name: str
    unit: str
    bar: str
    value: float
    holds: bool
    scale: float = 1.0
    notes: list[str] = field(default_factory=list)

    def held(self, limits: str) -> Self:
        """The same figure of jobs with all limits; the note says which there are."""
        notes = [*self.notes, f"with all limits, {limits}"]
        return replace(self, name=f"{self.name}-held", notes=notes)

    def line(self) -> str:
        """The figure for people."""
        verdict = "holds" if self.holds else "MISSED"
        sides = [f"legwork {self.legwork.text(self.unit, self.scale)}"]
        if self.anchor:
            sides.append(f"{self.anchor_name} {self.anchor.text(self.unit, self.scale)}")
        head = f"{self.name:<16} {self.value:7.3g}  bar {self.bar}: {verdict}"
        return "\n".join([head, *(f"    {text}" for text in [self.what, *sides, *self.notes])])

    def record(self) -> dict[str, object]:
        """The figure for programs."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "scale": self.scale,
            "legwork": self.legwork.values,
            "anchor": self.anchor.values if self.anchor else None,
            "anchorName": self.anchor_name,
            "value": self.value,
            "bar": self.bar,
            "holds": self.holds,
            "notes": self.notes,
        }


def seconds(action: Callable[[], object]) -> float:
    """How long the action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def alternate(runs: int, **sides: Callable[[], float]) -> dict[str, Series]:
    """Measure the sides in turn: one run each to warm up, then ``runs`` of each, A B A B.

    Each side returns its own measurement, so that it can prepare and clean up outside of it.
    """
    found = {name: Series() for name in sides}
    for number in range(max(runs, RUNS_MIN) + 1):
        for name, side in sides.items():
            value = side()
            if number > 0:
                found[name].values.append(value)
    return found
