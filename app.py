"""The application for gunicorn (`gunicorn app:server`) and for `python app.py`."""

import sys

from stylizer.errors import StylizerError
from stylizer.settings import Settings
from stylizer.web import create_app, serve

BOOT_FAILED = 3  # on this status gunicorn stops; on any other it would start another worker

try:
    settings = Settings.from_env()
    app = create_app(settings)
except StylizerError as error:
    print(f"stylizer: {error}", file=sys.stderr)
    sys.exit(BOOT_FAILED)
server = app.server

if __name__ == "__main__":
    serve(app, settings.host, settings.port)
