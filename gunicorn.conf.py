"""gunicorn: one worker, threads, no preload. Every setting that a deployment may want to change is a variable."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8050')}"
# One worker: it paints with every core, and a second would hold the weights and the photos' features again.
workers = 1
worker_class = "gthread"
# Threads wait for uploads and for their turn to paint; what paints at a time is bounded by STYLIZER_SLOTS.
threads = int(os.environ.get("WEB_THREADS", "16"))
# The engine starts its own threads, which do not survive a fork.
preload_app = False
# Painting 16 megapixels takes tens of seconds on two cores; the health of gthread workers does not depend on it.
timeout = 120
graceful_timeout = 30
keepalive = 75
# The heartbeat file, on memory: the root may be read-only, and a slow disk must not look like a dead worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
accesslog = None  # who came and what they sent is nobody's business
errorlog = "-"
control_socket_disable = True  # gunicorn 27 would open one in the home folder
