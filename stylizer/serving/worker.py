"""The server as a worker of gunicorn's: its sockets, its heartbeat, its signals."""

import logging
import os
import sys
from dataclasses import replace

from gunicorn.workers import base

from stylizer.serving.limits import Limits
from stylizer.serving.server import Server


class Heartbeat(base.WorkerTmp):
    """gunicorn's heartbeat file, in memory: no folder need be writable, and a slow disk must not look like a dead
    worker. Where a system has no such files it is one of gunicorn's own."""

    def __init__(self, cfg):
        if not hasattr(os, "memfd_create"):
            super().__init__(cfg)
            return
        self._tmp = os.fdopen(os.memfd_create("heartbeat"), "w+b", 0)
        if (cfg.uid, cfg.gid) != (os.geteuid(), os.getegid()):  # a file's times are its owner's to set
            os.fchown(self._tmp.fileno(), cfg.uid, cfg.gid)


base.WorkerTmp = Heartbeat  # gunicorn has no setting for it


class BufferedWorker(base.Worker):
    """Slow clients cost it no thread. `application.extensions["stylizer.serving"]`, where there is one, has its limits
    and observers."""

    server: Server | None = None

    def run(self) -> None:
        told = getattr(self.wsgi, "extensions", {}).get("stylizer.serving", {})
        told = {**told, "limits": replace(told.get("limits") or Limits(), threads=self.cfg.threads)}
        listeners = [listener.sock for listener in self.sockets]
        self.server = Server(self.wsgi, listeners, on_tick=self._beat, **told)
        if not self.alive:  # told to stop while it loaded
            self.server.stop()
        self.server.run()
        if self.server.busy:
            self.log.warning("%d requests did not end in time", self.server.busy)
        self.log.info("Worker exiting (pid: %s)", self.pid)
        self.tmp.close()
        # Without the interpreter's own end, which takes seconds to free what the engine holds on a machine under load,
        # and would pull the memory from under native code that is still at work.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _beat(self) -> None:
        self.notify()
        if self.ppid != os.getppid() and self.alive:
            self.log.info("the parent has gone")
            self.handle_exit(None, None)

    def handle_exit(self, _signal, _frame) -> None:
        """Once: a service manager may signal the worker as well as its parent, which then does so again."""
        if self.alive and self.server:
            self.server.stop()
        self.alive = False

    def handle_quit(self, _signal, _frame) -> None:
        """Ctrl+C in a terminal."""
        self.handle_exit(None, None)
