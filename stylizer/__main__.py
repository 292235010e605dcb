"""`python -m stylizer` is the command `stylizer`."""

import sys

from stylizer.cli import main

sys.exit(main())
