"""Work of a minute or so as one streamed answer: pictures optimised, paintings studied. A job lives and dies with its
request.

There is no queue, no file and no state beside the slots, which all kinds of jobs share. torch is imported by the
requests that need it alone: a server without it runs as ever, and says here what to install.
"""

import base64
import importlib.util
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from flask import Response, request, stream_with_context

from stylizer import images
from stylizer.errors import Busy, Gone, NotInstalled
from stylizer.feedforward import Interrupt
from stylizer.images import Picture
from stylizer.settings import Settings
from stylizer.web.api import interrupt_of, json_line
from stylizer.web.problems import describe

BEAT_SECONDS = 0.25  # between lines at the longest: a server notices at its second line that the client has gone
PREVIEW_QUALITY = 90  # of JPEG
COME_AGAIN_SECONDS = 5
LET_GO_SECONDS = 2  # whoever pauses and goes on at once finds the place still taken by the request that was broken off

Show = Callable[[object, bool], dict]  # (a step, whether it is the last) -> what its line holds besides
Work = Callable[..., tuple[Show, Iterator]]  # (progress=, interrupt=) -> how steps are shown, and the steps


class Jobs:
    """The slots, and how a request gets one."""

    def __init__(self, settings: Settings):
        self._seconds = settings.optimise_seconds
        self._slots = threading.BoundedSemaphore(settings.optimise_slots)
        self._patience = threading.BoundedSemaphore(settings.optimise_slots)  # who waits a moment, a thread each

    @staticmethod
    def need_torch(what: str) -> None:
        """NotInstalled where torch is missing, or what it needs."""
        if importlib.util.find_spec("torch") is None:
            raise NotInstalled(f"{what} needs torch, and this server runs without: pip install 'stylizer[torch]'")
        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            raise NotInstalled(
                f"{what} needs a folder for temporary files, which torch looks for: give this server a /tmp that can "
                "be written"
            ) from None

    def answer(self, read: Callable[[], Work], steps: int, preview_seconds: float) -> Response:
        """The stream of the work that `read` finds in the request, once there is a slot; Busy where there is none."""
        if not (self._slots.acquire(blocking=False) or self._wait()):
            raise Busy(
                "this server is optimising or studying as many pictures as it takes at a time; try again when one is "
                "done, in a minute or so", COME_AGAIN_SECONDS,
            )  # fmt: skip
        try:
            job = Job(read(), steps, self._seconds, self._slots.release, interrupt_of(request.environ))
            job.start()
        except BaseException:
            self._slots.release()
            raise
        lines = stream_with_context(job.lines(preview_seconds))
        response = Response(lines, mimetype="application/x-ndjson", headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathered the lines would hide that they come one by one
        })  # fmt: skip
        response.call_on_close(job.leave)
        return response

    def _wait(self) -> bool:
        if not self._patience.acquire(blocking=False):
            return False
        try:
            return self._slots.acquire(timeout=LET_GO_SECONDS)
        finally:
            self._patience.release()


class Job(threading.Thread):
    """Work in a thread of its own, so that lines go out while a step is under way.

    The thread gives its slot back by `release` when it ends, be the work done, its seconds over, something wrong, or
    `leave` called: then in the middle of a step. So it does when `interrupted` raises, the request's own way to end;
    that is told in the last line.
    """

    def __init__(
        self, work: Work, steps: int, seconds: float, release: Callable[[], None],
        interrupted: Interrupt = lambda: None,
    ):  # fmt: skip
        super().__init__(name="job", daemon=True)
        self._work, self._steps, self._seconds, self._release = work, steps, seconds, release
        self._told: deque[dict] = deque([{"event": "progress", "step": 0, "steps": steps, "losses": {}}])
        self._newest = None  # the step done last: pictures that no one took are forgotten
        self._show: Show | None = None
        self._error: Exception | None = None
        self._late = self._over = False
        self._download_told = 0.0
        self._interrupted = interrupted
        self._gone, self._news = threading.Event(), threading.Event()

    def leave(self) -> None:
        self._gone.set()

    def run(self) -> None:
        try:
            work, self._work = self._work, None  # with the pictures as they came, which are needed no longer
            self._show, steps = work(progress=self._on_download, interrupt=self._interrupt)
            del work
            end = time.monotonic() + self._seconds
            for step in steps:
                self._newest = step
                self._tell(step.index, step.losses)
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
            raise Gone("the client has left")
        self._interrupted()

    def _on_download(self, done: int, total: int) -> None:
        self._interrupt()
        if time.monotonic() - self._download_told > BEAT_SECONDS:  # blocks come by the hundred a second
            self._download_told = time.monotonic()
            self._tell(0, {}, download={"megabytes": done / 1e6, "of": total / 1e6})

    def _tell(self, index: int, losses: dict, **more) -> None:
        self._told.append({"event": "progress", "step": index, "steps": self._steps, "losses": losses, **more})
        self._news.set()

    def lines(self, preview_seconds: float) -> Iterator[bytes]:
        """NDJSON: progress, told anew while a step takes long, and previews; then the result, or what went wrong."""
        line, seen, seen_at, over = None, None, 0.0, False
        while not over:
            self._news.wait(BEAT_SECONDS)
            self._news.clear()
            over = self._over  # before the lines are taken: what is told until then is among them
            fresh = [self._told.popleft() for _ in range(len(self._told))]
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

    def _line(self, event: str, step, last: bool, **more) -> bytes:
        shown = self._show(step, last)
        return json_line({"event": event, "step": step.index, "steps": self._steps, **shown, **more})


def picture_text(picture: Picture, format: str) -> str:
    """A picture as lines have it: base64."""
    quality = (PREVIEW_QUALITY,) if format == "jpeg" else ()
    return base64.b64encode(images.encode(picture, format, *quality)).decode()
