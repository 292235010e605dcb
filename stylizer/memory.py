"""How much memory this process may still take, by machine and container, and refusing what would not fit.

Check here before a large allocation: past the limit the system kills the process, and every request with it.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from stylizer import cgroups
from stylizer.errors import OutOfMemory, PictureOutOfBounds

MEGABYTE = 2**20
# Control group files, versions 2 and 1: the limit, memory used, and how much of it is reclaimable page cache.
CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
# glibc's mallopt: few arenas, and blocks from one megabyte up get their own mapping, returned as soon as it is freed.
MALLOC_SETTINGS = {-8: 2, -3: MEGABYTE, -1: MEGABYTE}  # M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def free_memory() -> int | None:
    """Bytes that this process may still take, by machine and container; None if the system does not say."""
    machine = _of_file("/proc/meminfo", "MemAvailable:")
    return None if machine is None else min([machine * 1024, *(limit - used for limit, used in _cgroups())])


def total_memory() -> int | None:
    """Bytes available if nothing else ran here: the machine's memory or the container's limit."""
    machine = _of_file("/proc/meminfo", "MemTotal:")
    return None if machine is None else min([machine * 1024, *(limit for limit, _ in _cgroups())])


def resident_memory() -> int:
    """Bytes that this process uses; 0 if the system does not say."""
    return (_of_file("/proc/self/status", "VmRSS:") or 0) * 1024


def settle() -> None:
    """Make malloc return freed memory to the system. Call once, when a server starts. glibc only."""
    for setting, value in MALLOC_SETTINGS.items():
        _of_libc("mallopt", setting, value)


def give_back() -> None:
    """Return freed memory to the system, after finishing something large. glibc only."""
    _of_libc("malloc_trim", 0)


def check_memory(
    height: int,
    width: int,
    bytes_per_pixel: int,
    *,
    piece: int | None = None,
    needs_besides: int = 0,
    release: Callable[[], bool] = lambda: False,
    free: Callable[[], int | None] | None = None,
    total: Callable[[], int | None] | None = None,
) -> None:
    """Refuse a painting that would not fit, before the system kills the process.

    `piece`: pixels processed at a time, for painting in tiles. `needs_besides`: bytes occupied permanently, before any
    picture. `release` frees something cached and returns whether there was anything; it is called while memory is
    short. `free` and `total` replace the machine's figures, for a graphics card.
    Raises OutOfMemory if the picture might fit later, PictureOutOfBounds if it never will.
    """
    needed, ask = min(height * width, piece or height * width) * bytes_per_pixel, free or free_memory
    room = ask()
    while room is not None and needed > room and release():
        give_back()
        room = ask()
    if room is None or needed <= room:
        return
    kind: type[OutOfMemory | PictureOutOfBounds] = OutOfMemory
    when, whole = "is free", (total or total_memory)()
    if whole is not None and needed > whole - needs_besides:
        kind, when, room = PictureOutOfBounds, "is the most available here", whole - needs_besides
    room = max(room, 0)
    longest = int(max(height, width) * min(1.0, (0.8 * room / (bytes_per_pixel * height * width)) ** 0.5))
    raise kind(
        f"painting {width}x{height} pixels needs {needed / 1e9:.1f} GB of memory, but {room / 1e9:.1f} GB {when};"
        f" ask for a size of {longest} pixels or less" + ("" if kind is PictureOutOfBounds else ", or try again later")
    )


def check_room(needed: int, what: str, advice: str = "try again in a few seconds, or send a smaller picture") -> None:
    """Raise OutOfMemory if `needed` bytes for `what` ("decoding content") are not free right now."""
    free = free_memory()
    if free is not None and needed > free:
        raise OutOfMemory(f"{what} needs {needed / 1e6:,.0f} MB of memory, but {free / 1e6:,.0f} MB is free; {advice}")


def _cgroups() -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each control group that limits this process."""
    for folder in cgroups.folders("memory"):
        for limit_file, used_file, reclaimable in CGROUP_FILES:
            try:
                limit = int((folder / limit_file).read_text())
                used = int((folder / used_file).read_text())
            except (OSError, ValueError):  # not this version, or "max": no limit
                continue
            yield limit, used - (_of_file(folder / "memory.stat", reclaimable) or 0)


def _of_file(path: str | Path, name: str) -> int | None:
    """The number after `name` at the start of a line."""
    try:
        with open(path) as lines:
            return next(int(line.split()[1]) for line in lines if line.split()[:1] == [name])
    except (OSError, StopIteration, ValueError):
        return None


def _of_libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; does nothing with another C library."""
    with suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
