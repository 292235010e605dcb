"""The server as a gunicorn worker: its sockets, heartbeat and signals."""

import logging
import os
import sys
from dataclasses import replace
from types import FrameType
from typing import Any

from gunicorn.workers import base

from stylizer.serving.limits import Limits
from stylizer.serving.server import Server


class Heartbeat(base.WorkerTmp):
    """gunicorn's heartbeat file, in memory: it needs no writable folder, and a slow disk cannot look like a dead
    worker. Falls back to gunicorn's own on systems without memory files."""

    def __init__(self, cfg: Any):
        if not hasattr(os, "memfd_create"):
            super().__init__(cfg)
            return
        self._tmp = os.fdopen(os.memfd_create("heartbeat"), "w+b", 0)
        if (cfg.uid, cfg.gid) != (os.geteuid(), os.getegid()):  # only its owner may set a file's times
            os.fchown(self._tmp.fileno(), cfg.uid, cfg.gid)


base.WorkerTmp = Heartbeat  # gunicorn has no setting for it


class BufferedWorker(base.Worker):
    """A worker whose slow clients occupy no thread. `application.extensions["stylizer.serving"]`, if present, holds its
    limits and observers."""

    server: Server | None = None
    alive: bool  # gunicorn's: False after a stop signal

    def run(self) -> None:
        told = getattr(self.wsgi, "extensions", {}).get("stylizer.serving", {})
        told = {**told, "limits": replace(told.get("limits") or Limits(), threads=self.cfg.threads)}
        listeners = [listener.sock for listener in self.sockets]
        self.server = Server(self.wsgi, listeners, on_tick=self._beat, **told)
        if not self.alive:  # stopped while loading
            self.server.stop()
        self.server.run()
        if self.server.busy:
            self.log.warning("%d requests did not end in time", self.server.busy)
        self.log.info("Worker exiting (pid: %s)", self.pid)
        self.tmp.close()
        # Skips the interpreter's shutdown, which takes seconds to free the engine's memory on a loaded machine, and
        # would free it while native code still uses it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _beat(self) -> None:
        self.notify()
        if self.ppid != os.getppid() and self.alive:
            self.log.info("the parent has gone")
            self.handle_exit(None, None)

    def handle_exit(self, _signal: int | None, _frame: FrameType | None) -> None:
        """Stop, only once: a service manager may signal both worker and parent, which then signals the worker again."""
        if self.alive and self.server:
            self.server.stop()
        self.alive = False

    def handle_quit(self, _signal: int | None, _frame: FrameType | None) -> None:
        """Ctrl+C in a terminal."""
        self.handle_exit(None, None)
