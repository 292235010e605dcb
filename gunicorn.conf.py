"""gunicorn: one worker of our own kind, no preload. What a deployment may want to change is a variable."""

import math
import sys

from stylizer.errors import StylizerError
from stylizer.settings import Deployment, Settings

try:
    deployment, settings = Deployment.from_env(), Settings.from_env()
except StylizerError as error:
    sys.exit(f"stylizer: {error}")

bind = f"0.0.0.0:{deployment.port}"
# One worker: it paints with every core, and a second would hold the weights and the photos' features again.
workers = 1
# It holds slow clients without a thread each, whatever their number; gunicorn's own threads could all be held by them.
worker_class = "stylizer.serving.worker.BufferedWorker"
# For what waits for no turn to paint; those that paint or wait have theirs beside these.
threads = deployment.web_threads
backlog = 512
# The engine starts its own threads, which do not survive a fork.
preload_app = False
# The heartbeat is the loop's and goes on while pictures are painted, however large they are.
timeout = 60
# The worker ends by itself in that time and half a second more: in 8 all is over, and Cloud Run kills after 10.
graceful_timeout = math.ceil(settings.drain_seconds) + 2
accesslog = None  # who came and what they sent is nobody's business
errorlog = "-"
control_socket_disable = True  # gunicorn 27 would open one in the home folder
