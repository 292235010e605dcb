"""Turns to paint: a few pictures at a time, the others in order of arrival, and no more than can be served in time.

A request first takes a *place*; if there is none, it is refused at once and told when to retry. With a place it waits
for its *turn*. A turn's cost is the megapixels to paint; how long a megapixel takes is measured along the way.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stylizer import tiles
from stylizer.errors import Busy
from stylizer.progress import Interrupt

FIXED = 0.05  # megapixels: the cost of decoding, encoding and reading a style at any size
LARGE = tiles.WHOLE_PIXELS / 1e6  # megapixels; larger pictures are painted in tiles, which takes seconds
SECONDS = 1.5  # per megapixel on two cores, until it has been measured
LEARN = 0.1  # weight of each new measurement
LONGEST_RETRY = 120  # seconds; nobody waits longer
LOOK_SECONDS = 0.1  # between checks whether the client is still there


class Turn:
    """One picture to paint, waiting or being painted."""

    def __init__(self, megapixels: float):
        self.cost = megapixels + FIXED
        self.large = megapixels > LARGE
        self.given = threading.Event()
        self.since = 0.0


class Place:
    """A request's place among those being served; a context manager that leaves it at the end."""

    def __init__(self, turns: "Turns"):
        self._turns, self._left = turns, False

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_error: object) -> None:
        self.leave()

    def leave(self) -> None:
        """May be called twice, since a stream can end in several ways."""
        if not self._left:
            self._left = True
            self._turns.leave()

    @contextmanager
    def turn(self, megapixels: float, interrupt: Interrupt, patient: bool = False) -> Iterator[Callable[..., None]]:
        """Wait for a turn and hold it; Busy if that takes too long, unless `patient`. An error that `interrupt` raises
        ends the wait.

        Yields a function to call between tiles, with any arguments: it lets small pictures that are waiting go first.
        """
        turn = Turn(megapixels)
        self._turns.wait(turn, interrupt, patient)
        began, away = time.monotonic(), 0.0

        def between_tiles(*_progress: object) -> None:
            nonlocal away
            interrupt()
            away += self._turns.let_small_ones_pass(turn, interrupt)

        try:
            interrupt()  # after a long wait the client may have gone
            yield between_tiles
            self._turns.learn(turn, time.monotonic() - began - away)
        finally:
            self._turns.give_back(turn)


class Turns:
    def __init__(self, slots: int, queue_length: int, queue_seconds: float):
        self.slots, self.places, self._queue_seconds = slots, slots + queue_length, queue_seconds
        # The last slot is for small pictures: large ones must not keep everyone waiting for a minute.
        self._slots_for_large = max(1, slots - 1)
        self._lock = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._at_work: list[Turn] = []
        self.taken = 0  # places
        self._seconds = SECONDS  # that a megapixel takes, with the other turns at work

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def at_work(self) -> int:
        return len(self._at_work)

    def enter(self, megapixels: float = 0.0) -> Place:
        """A place for a request that paints this much per turn.

        Busy, with the seconds until a retry may succeed, if there is none or the wait would exceed `queue_seconds`.
        """
        with self._lock:
            seconds = self._time_to_wait(Turn(megapixels))
            if self.taken >= self.places or (self._waiting and seconds > self._queue_seconds):
                raise self._busy(seconds)
            self.taken += 1
        return Place(self)

    def leave(self) -> None:
        with self._lock:
            self.taken -= 1

    def wait(self, turn: Turn, interrupt: Interrupt, patient: bool = False, first: bool = False) -> None:
        with self._lock:
            (self._waiting.appendleft if first else self._waiting.append)(turn)
            self._give()
        end = math.inf if patient else time.monotonic() + self._queue_seconds
        try:
            while not turn.given.wait(min(LOOK_SECONDS, max(0.0, end - time.monotonic()))):
                interrupt()
                if time.monotonic() >= end:
                    with self._lock:
                        if not turn.given.is_set():
                            raise self._busy(self._time_to_wait(turn))
        except BaseException:
            self.give_back(turn)
            raise

    def give_back(self, turn: Turn) -> None:
        """End a turn, or stop waiting for it."""
        with self._lock:
            self._drop(turn)
            self._give()

    def let_small_ones_pass(self, turn: Turn, interrupt: Interrupt) -> float:
        """Called between two tiles of a large picture: lends its slot to a small one; returns the seconds that took."""
        began = time.monotonic()
        with self._lock:
            wanted = turn.large and len(self._at_work) == self.slots and any(not each.large for each in self._waiting)
            if not wanted:
                return 0.0
            self._at_work.remove(turn)
            turn.given.clear()
            small = next(each for each in self._waiting if not each.large)
            self._waiting.remove(small)
            self._begin(small)
        self.wait(turn, interrupt, patient=True, first=True)
        return time.monotonic() - began

    def learn(self, turn: Turn, seconds: float) -> None:
        """Update how long a megapixel takes. One odd turn, such as the first of its size, changes it little."""
        with self._lock:
            seen = min(max(seconds / turn.cost, self._seconds / 8), self._seconds * 8)
            self._seconds += LEARN * (seen - self._seconds)

    # With the lock held ---------------------------------------------------------------------------------------------

    def _give(self) -> None:
        """Give free slots to those waiting longest; large pictures may not take the last one."""
        for turn in list(self._waiting):
            if len(self._at_work) >= self.slots:
                return
            if not turn.large or sum(each.large for each in self._at_work) < self._slots_for_large:
                self._waiting.remove(turn)
                self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        turn.since = time.monotonic()
        self._at_work.append(turn)
        turn.given.set()

    def _drop(self, turn: Turn) -> None:
        for line in (self._at_work, self._waiting):
            if turn in line:
                line.remove(turn)

    def _time_to_wait(self, turn: Turn) -> float:
        """Estimated seconds until a new turn would be given."""
        alike = [each for each in (*self._waiting, *self._at_work) if each.large == turn.large]
        side = self._slots_for_large if turn.large else self.slots - any(each.large for each in self._at_work)
        if len(self._at_work) < self.slots and len(alike) < side:
            return 0.0
        return sum(self._left(each) for each in alike) / max(1, side)

    def _left(self, turn: Turn) -> float:
        seconds = turn.cost * self._seconds
        return max(0.0, seconds - (time.monotonic() - turn.since)) if turn in self._at_work else seconds

    def _busy(self, seconds: float) -> Busy:
        return Busy(
            "this server is already painting as many pictures as it can; try again in a few seconds",
            min(LONGEST_RETRY, max(1, math.ceil(seconds))),
        )
