"""Work that takes a minute or so, as one streamed answer: an optimisation or a study. A job ends with its request.

There is no queue, no file and no state other than the slots, which all kinds of jobs share. Only the requests that need
torch import it: a server without it works as usual, and says here what to install.
"""

import base64
import importlib.util
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from stylizer import images
from stylizer.errors import Busy, Gone, NotInstalled
from stylizer.images import Picture
from stylizer.progress import Interrupt
from stylizer.settings import Settings
from stylizer.web.problems import describe
from stylizer.web.streaming import interrupt_of_request, json_line, stream

BEAT_SECONDS = 0.25  # between lines, at most: only while writing does a server notice that the client has gone
PREVIEW_QUALITY = 90  # of JPEG
RETRY_SECONDS = 5
LET_GO_SECONDS = 2  # a client that pauses and resumes at once finds its own aborted request still in the slot

Show = Callable[[Any, bool], dict]  # (a step, whether it is the last) -> further members of its line
Work = Callable[..., tuple[Show, Iterator]]  # (progress=, interrupt=) -> how to show a step, and the steps


class Jobs:
    """The slots, and how a request gets one."""

    def __init__(self, settings: Settings):
        self._seconds = settings.optimise_seconds
        self._slots = threading.BoundedSemaphore(settings.optimise_slots)
        self._patience = threading.BoundedSemaphore(settings.optimise_slots)  # requests that wait, a thread each

    @staticmethod
    def need_torch(what: str) -> None:
        """NotInstalled if torch is missing, or something it depends on."""
        if importlib.util.find_spec("torch") is None:
            raise NotInstalled(f"{what} needs torch, which this server lacks: pip install 'stylizer[torch]'")
        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            raise NotInstalled(
                f"{what} needs torch, which needs a folder for temporary files: give this server a writable /tmp"
            ) from None

    def answer(self, read: Callable[[], Work], steps: int, preview_seconds: float) -> Response:
        """The stream of the work that `read` makes of the request, once there is a slot; Busy if there is none."""
        if not (self._slots.acquire(blocking=False) or self._wait()):
            raise Busy(
                "this server is already optimising or studying as many pictures as it can; try again in a minute or so",
                RETRY_SECONDS,
            )
        try:
            job = Job(read(), steps, self._seconds, self._slots.release, interrupt_of_request())
            job.start()
        except BaseException:
            self._slots.release()
            raise
        return stream(job.lines(preview_seconds), job.leave)

    def _wait(self) -> bool:
        if not self._patience.acquire(blocking=False):
            return False
        try:
            return self._slots.acquire(timeout=LET_GO_SECONDS)
        finally:
            self._patience.release()


class Job(threading.Thread):
    """Work in a thread of its own, so that lines go out while a step is under way.

    The thread calls `release` when it ends: when the work is done, its time is up or it has failed. `leave` ends it in
    the middle of a step. So does `interrupted` when it raises, and the last line then has that error.
    """

    def __init__(
        self,
        work: Work,
        steps: int,
        seconds: float,
        release: Callable[[], None],
        interrupted: Interrupt = lambda: None,
    ):
        super().__init__(name="job", daemon=True)
        self._work: list[Work] = [work]  # until it begins: it holds the pictures as they came
        self._steps, self._seconds, self._release = steps, seconds, release
        self._reports: deque[dict] = deque([{"event": "progress", "step": 0, "steps": steps, "losses": {}}])
        self._newest: Any = None  # the latest step; pictures that nobody fetched are dropped
        self._show: Show | None = None
        self._error: Exception | None = None
        self._late = self._over = False
        self._download_reported = 0.0
        self._interrupted = interrupted
        self._gone, self._news = threading.Event(), threading.Event()

    def leave(self) -> None:
        self._gone.set()

    def run(self) -> None:
        try:
            self._show, steps = self._work.pop()(progress=self._on_download, interrupt=self._interrupt)
            end = time.monotonic() + self._seconds
            for step in steps:
                self._newest = step
                self._report(step.index, step.losses)
                self._interrupt()
                if time.monotonic() > end:
                    self._late = step.index < self._steps
                    break
        except Gone:
            self._newest = None
        except Exception as error:
            self._error = error
        finally:
            self._release()
            self._over = True
            self._news.set()

    def _interrupt(self) -> None:
        if self._gone.is_set():
            raise Gone("the client has gone")
        self._interrupted()

    def _on_download(self, done: int, total: int) -> None:
        self._interrupt()
        if time.monotonic() - self._download_reported > BEAT_SECONDS:  # there are hundreds of blocks per second
            self._download_reported = time.monotonic()
            self._report(0, {}, download={"megabytes": done / 1e6, "of": total / 1e6})

    def _report(self, index: int, losses: dict, **more: Any) -> None:
        self._reports.append({"event": "progress", "step": index, "steps": self._steps, "losses": losses, **more})
        self._news.set()

    def lines(self, preview_seconds: float) -> Iterator[bytes]:
        """NDJSON: progress, repeated while a step takes long, and previews; then the result or the error."""
        line: dict = {}
        seen, seen_at, over = None, 0.0, False
        while not over:
            self._news.wait(BEAT_SECONDS)
            self._news.clear()
            over = self._over  # read before the lines are taken, so that none is missed
            fresh = [self._reports.popleft() for _ in range(len(self._reports))]
            line = fresh[-1] if fresh else line
            yield from map(json_line, fresh or [line])
            step = self._newest
            if not over and step is not seen and time.monotonic() - seen_at > preview_seconds:
                yield self._line("preview", step, last=False)
                seen, seen_at = step, time.monotonic()
        if self._error:
            yield json_line({"event": "error", "problem": describe(self._error)})
        elif self._newest:
            yield self._line("result", self._newest, last=True, losses=self._newest.losses, late=self._late)

    def _line(self, event: str, step: Any, last: bool, **more: Any) -> bytes:
        shown = self._show(step, last) if self._show else {}
        return json_line({"event": event, "step": step.index, "steps": self._steps, **shown, **more})


def picture_text(picture: Picture, format: str) -> str:
    """A picture for a line of JSON, in base64."""
    quality = (PREVIEW_QUALITY,) if format == "jpeg" else ()
    return base64.b64encode(images.encode(picture, format, *quality)).decode()
