"""The control groups that limit this process, as containers are limited: Linux, versions 1 and 2."""

from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")


def folders(controller: str) -> list[Path]:
    """This process's groups and their parents for "memory" or "cpu"; inside a container, its own is the outermost."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = [ROOT, ROOT / controller]
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            root = ROOT if number == "0" else ROOT / controller
            inner = PurePosixPath(path.lstrip("/"))
            found += [root / each for each in (inner, *inner.parents)]
    return list(dict.fromkeys(found))
