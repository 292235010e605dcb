"""gunicorn: one worker of our own class, no preload. Whatever a deployment may want to change is a variable."""

import math
import sys

from stylizer.errors import StylizerError
from stylizer.settings import Deployment, Settings

try:
    deployment, settings = Deployment.from_env(), Settings.from_env()
except StylizerError as error:
    sys.exit(f"stylizer: {error}")

bind = f"0.0.0.0:{deployment.port}"
# One worker: it paints on all cores, and a second would duplicate the weights and the photos' features in memory.
workers = 1
# It serves any number of slow clients without a thread each; they could occupy all of gunicorn's own threads.
worker_class = "stylizer.serving.worker.BufferedWorker"
# For quick requests; those that paint or wait for their turn have threads of their own.
threads = deployment.web_threads
backlog = 512
# The engine starts its own threads, which do not survive a fork.
preload_app = False
# The loop sends the heartbeat, which continues during painting, however large the picture.
timeout = 60
# The worker ends by itself half a second after drain_seconds: after 8 s everything has ended; Cloud Run kills after 10.
graceful_timeout = math.ceil(settings.drain_seconds) + 2
accesslog = None  # visitors and their requests are private
errorlog = "-"
control_socket_disable = True  # gunicorn 27 would open one in the home folder
