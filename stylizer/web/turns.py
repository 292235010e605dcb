"""Turns to paint: a few pictures at a time, the others in the order they came, and no more than can be served in time.

A request takes a *place* before anything else; where there is none it is told at once when to come again. With a place
it waits for its *turn*. What a turn costs is told in megapixels painted, and how long these take is learnt on the way.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stylizer import tiles
from stylizer.errors import Busy
from stylizer.feedforward import Interrupt

FIXED = 0.05  # megapixels' worth of decoding, encoding and reading a style, whatever the size
LARGE = tiles.WHOLE_PIXELS / 1e6  # megapixels from which a picture is painted in tiles, and takes seconds
SECONDS = 1.5  # for a megapixel on two cores, until it is known better
LEARN = 0.1  # of every turn's speed
LONGEST_AWAY = 120  # seconds; who is told to stay away longer does not come back
LOOK_SECONDS = 0.1  # between looks whether the client is still there


class Turn:
    """One picture to be painted, waiting or at work."""

    def __init__(self, megapixels: float):
        self.cost = megapixels + FIXED
        self.large = megapixels > LARGE
        self.given = threading.Event()
        self.since = 0.0


class Place:
    """A request's place among those that are served; as a context manager it is left at the end."""

    def __init__(self, turns: "Turns"):
        self._turns, self._left = turns, False

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_error) -> None:
        self.leave()

    def leave(self) -> None:
        """May be called twice: streams end in more ways than one."""
        if not self._left:
            self._left = True
            self._turns.leave()

    @contextmanager
    def turn(self, megapixels: float, interrupt: Interrupt, patient: bool = False) -> Iterator[Callable[..., None]]:
        """Wait for a turn and hold it; Busy where that takes too long, save for the patient. What `interrupt` raises
        ends the waiting.

        Yields a function to call between tiles, whatever its arguments: small pictures that wait go first then.
        """
        turn = Turn(megapixels)
        self._turns.wait(turn, interrupt, patient)
        began, away = time.monotonic(), 0.0

        def between_tiles(*_progress) -> None:
            nonlocal away
            interrupt()
            away += self._turns.let_small_ones_pass(turn, interrupt)

        try:
            interrupt()  # it may have been long: is there still someone who waits for this?
            yield between_tiles
            self._turns.learn(turn, time.monotonic() - began - away)
        finally:
            self._turns.give_back(turn)


class Turns:
    def __init__(self, slots: int, queue_length: int, queue_seconds: float):
        self.slots, self.places, self._queue_seconds = slots, slots + queue_length, queue_seconds
        # The last slot is for small pictures: two large ones must not keep everyone waiting for a minute.
        self._slots_for_large = max(1, slots - 1)
        self._lock = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._at_work: list[Turn] = []
        self.taken = 0  # places
        self._seconds = SECONDS  # that a megapixel takes, of a turn beside the others

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def at_work(self) -> int:
        return len(self._at_work)

    def enter(self, megapixels: float = 0.0) -> Place:
        """A place for a request that paints so much at a time.

        Busy, with the seconds to stay away, where there is none, or where it would wait longer than `queue_seconds`.
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
        """What was given, or the place in line."""
        with self._lock:
            self._drop(turn)
            self._give()

    def let_small_ones_pass(self, turn: Turn, interrupt: Interrupt) -> float:
        """Between two tiles of a large picture: the seconds for which a small one had its slot."""
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
        """How long a megapixel takes here. One odd turn, such as the first of its size, does not change it much."""
        with self._lock:
            seen = min(max(seconds / turn.cost, self._seconds / 8), self._seconds * 8)
            self._seconds += LEARN * (seen - self._seconds)

    # With the lock held ---------------------------------------------------------------------------------------------

    def _give(self) -> None:
        """Free slots to those who have waited longest, of the kinds that may."""
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
        """Seconds until a turn that comes now is given, as far as can be told."""
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
            "more pictures are being painted than this server takes at a time; try again in a few seconds",
            min(LONGEST_AWAY, max(1, math.ceil(seconds))),
        )
