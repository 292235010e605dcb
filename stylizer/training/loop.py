"""The training loop of every run here: steps until the schedule or the call ends, with a report every few steps."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from stylizer.errors import NotFinite


class Run(Protocol):
    """What the loop needs of a run."""

    step: int  # done so far
    seconds: float  # of training, all calls together; the loop counts them

    def done(self) -> float:
        """Share of the schedule, 0 to 1."""

    def rate(self) -> float:
        """Of the schedule at this point."""

    def batch_size(self) -> int: ...

    def advance(self) -> dict[str, Tensor]:
        """One step; its losses, scalars that may still be on the device."""


@dataclass(frozen=True)
class Report:
    """Where a run stands after a step."""

    step: int
    seconds: float  # of training, all calls together
    done: float  # share of the schedule, 0 to 1
    seconds_left: float
    samples_per_second: float  # since the last report
    rate: float  # the run's own
    losses: dict[str, float]  # means since the last report


def train(run: Run, report_every: int = 10, until: float = math.inf, began: float | None = None) -> Iterator[Report]:
    """Train to the end of the schedule, or until `time.monotonic()` passes `until`, but one step at least.

    Yields every few steps; until then losses stay on the device, and the device stays busy. `began` is when the run's
    clock starts; give the time the command began, and loading counts, too.
    NotFinite where a loss or the gradient is not: nothing is yielded after the last good report, so whoever saves at
    reports never saves a broken run.
    """
    last = time.monotonic() if began is None else began
    reported, samples, steps, sums = time.monotonic(), 0, 0, {}
    while run.done() < 1:
        samples, steps = samples + run.batch_size(), steps + 1
        for name, value in run.advance().items():
            sums[name] = sums.get(name, 0) + value
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % report_every and run.done() < 1 and now < until:
            continue
        means = {name: float(value) / steps for name, value in sums.items()}  # waits for the device
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise NotFinite(
                f"{', '.join(broken)} became NaN or infinite between steps {run.step - steps} and "
                f"{run.step}. The last checkpoint is unaffected; resume from it with a lower rate"
            )
        left = run.seconds / max(run.done(), 1e-9) * (1 - run.done())
        yield Report(run.step, run.seconds, run.done(), left, samples / (now - reported), run.rate(), means)
        if now >= until:
            return
        reported, samples, steps, sums = time.monotonic(), 0, 0, {}


class Timer:
    """Is due every so many minutes."""

    def __init__(self, minutes: float):
        self.seconds = 60 * minutes
        self.last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() <= self.last + self.seconds:
            return False
        self.last = time.monotonic()
        return True


class Bar:
    """A context with a progress bar of a run, in per cent of its schedule."""

    def __init__(self, run: Run):
        self._bar = tqdm(total=100, initial=round(100 * run.done(), 2), bar_format="{l_bar}{bar}| {postfix}")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_error) -> None:
        self._bar.close()

    def show(self, now: Report, words: str) -> None:
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(100 * now.done - self._bar.n)

    def write(self, line: str) -> None:
        self._bar.write(line)


def summary(run: Run) -> str:
    """How a call ended."""
    end = "finished" if run.done() >= 1 else "stopped for now; the same command resumes it"
    return f"{end} at step {run.step} after {run.seconds / 60:.1f} minutes"
