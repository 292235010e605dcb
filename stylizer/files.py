"""Writing files so that what stands at a path is whole, however the work ends."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write beside it first and put it in place when done; folders on the way are made. OSError where it fails."""
    path = Path(os.path.realpath(path))  # what a link points to is written, and the link stays
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".stylizer-{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
