"""Progress of long work: a bar on a terminal, otherwise an occasional plain line; and how to interrupt it."""

import sys
import time
from collections.abc import Callable

LINE_SECONDS = 10.0  # shortest time between lines,
SURE_SECONDS = 60.0  # and longest; sooner once a tenth of the work is done
SHARE = 0.1


OnTile = Callable[[int, int], None]  # called with (tiles painted, tiles in all); raise in it to stop the painting
Interrupt = Callable[[], None]  # called between stages of work; raise in it to stop the work


def go_on() -> None:
    """An interrupt that never interrupts."""


class Progress:
    """A context manager: `to(done, total)` reports progress, with optional words about the state.

    If stderr is not a terminal, it prints lines without control characters, and none for work of a few seconds.
    """

    def __init__(self, unit: str, total: int = 0, what: str = "", delay: float = 0.0):
        from tqdm import tqdm

        self.unit, self.what, self.total, self.done = unit, what, total, 0
        self.looking = sys.stderr.isatty()
        scale = {"unit_scale": True} if unit == "B" else {}
        self._bar = tqdm(
            total=total or None,
            unit=unit,
            desc=what or None,
            leave=not delay,
            delay=delay,
            disable=not self.looking,
            **scale,
        )
        self._start = self._said_at = time.monotonic()
        self._said: int | None = None  # `done` at that time

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def to(self, done: int, total: int = 0, words: str = "") -> None:
        self.done, self.total = done, total or self.total
        if self.looking:
            self._bar.total = self.total or None
            if words:
                self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done < self.total or not self.total:
            self._line(words)

    def _line(self, words: str) -> None:
        now = time.monotonic()
        first, much = self._said is None, self.done - (self._said or 0) >= SHARE * self.total
        if now - self._said_at < (LINE_SECONDS if first or much else SURE_SECONDS):
            return
        self._said_at, self._said = now, self.done
        print(self.line(now - self._start, words), file=sys.stderr, flush=True)

    def line(self, seconds: float, words: str = "") -> str:
        """The line after this many seconds: "stylizer: 12 of 60 steps, about 40 s left, total 0.31"."""
        done, total, unit = self.done, self.total, f"{self.unit}s"
        if self.unit == "B":
            done, total, unit = round(done / 1e6), round(total / 1e6), "MB"
        amount = f"{done} of {total} {unit}" if total else f"{done} {unit}"
        left = f"about {_in_words(seconds * (total - done) / done)} left" if total and done else ""
        parts = [f"{self.what}: {amount}" if self.what else amount, left, words]
        return f"stylizer: {', '.join(filter(None, parts))}"


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
