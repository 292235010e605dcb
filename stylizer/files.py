"""Atomic file writes: the file at a path is always complete."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same folder, then rename it; creates missing folders. OSError on failure."""
    path = Path(os.path.realpath(path))  # writes to the target of a link and keeps the link
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".stylizer-{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
