"""Memory: what this process may still take, by machine and container, and refusing what would not fit.

Whoever is about to allocate asks here first: past the limit the system ends the process, and every request with it.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from stylizer.errors import OutOfMemory, PictureOutOfBounds

MEGABYTE = 2**20
CGROUPS = Path("/sys/fs/cgroup")
# Of a control group, versions 2 and 1: its limit, what is used, and what of that are pages of files that go on demand.
CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
# glibc's mallopt: few arenas, and blocks from a megabyte on are maps of their own, which go back when they are freed.
MALLOC_SETTINGS = {-8: 2, -3: MEGABYTE, -1: MEGABYTE}  # M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def free_memory() -> int | None:
    """Bytes that this process may still take, by machine and container; None where the system does not say."""
    machine = _of_file("/proc/meminfo", "MemAvailable:")
    return None if machine is None else min([machine * 1024, *(limit - used for limit, used in _cgroups())])


def total_memory() -> int | None:
    """Bytes that there would be if nothing else ran here: the machine's, or the container's limit."""
    machine = _of_file("/proc/meminfo", "MemTotal:")
    return None if machine is None else min([machine * 1024, *(limit for limit, _ in _cgroups())])


def resident_memory() -> int:
    """Bytes that this process takes; 0 where the system does not say."""
    return (_of_file("/proc/self/status", "VmRSS:") or 0) * 1024


def settle() -> None:
    """Have freed memory go back to the system, for a process that serves: once, at its start. glibc only."""
    for setting, value in MALLOC_SETTINGS.items():
        _of_libc("mallopt", setting, value)


def give_back() -> None:
    """Freed memory to the system, after something large is done with. glibc only."""
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
    """Refuse a painting that would not fit: the system would end the process.

    `piece`: pixels in work at a time, for who paints in tiles. `needs_besides`: bytes that are taken for good before
    any picture is. `release` gives up something kept for later and says whether there was anything: it is asked as
    long as memory is short. `free` and `total` are asked in place of the machine, for a graphics card.
    OutOfMemory where the picture might fit later, PictureOutOfBounds where it never will.
    """
    needed, ask = min(height * width, piece or height * width) * bytes_per_pixel, free or free_memory
    room = ask()
    while room is not None and needed > room and release():
        give_back()
        room = ask()
    if room is None or needed <= room:
        return
    kind, when, most = OutOfMemory, "is free", (total or total_memory)() - needs_besides
    if needed > most:
        kind, when, room = PictureOutOfBounds, "is all there can be here", most
    room = max(room, 0)
    longest = int(max(height, width) * min(1.0, (0.8 * room / (bytes_per_pixel * height * width)) ** 0.5))
    raise kind(
        f"painting {width}x{height} pixels needs {needed / 1e9:.1f} GB of memory and {room / 1e9:.1f} GB {when};"
        f" ask for a size of {longest} pixels or less" + ("" if kind is PictureOutOfBounds else ", or try again later")
    )


def check_room(needed: int, what: str, advice: str = "try again in a few seconds, or send a smaller picture") -> None:
    """OutOfMemory where `needed` bytes for `what` ("decoding content") are not free at the moment."""
    free = free_memory()
    if free is not None and needed > free:
        raise OutOfMemory(f"{what} needs {needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB is free; {advice}")


def _cgroups() -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each control group that binds this process and has a limit."""
    for folder in _cgroup_folders():
        for limit_file, used_file, reclaimable in CGROUP_FILES:
            try:
                limit = int((folder / limit_file).read_text())
                used = int((folder / used_file).read_text())
            except (OSError, ValueError):  # no such version here, or "max": no limit
                continue
            yield limit, used - (_of_file(folder / "memory.stat", reclaimable) or 0)


def _cgroup_folders() -> list[Path]:
    """The groups that this process is in and those around them; within a container its own is the outermost."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = [CGROUPS, CGROUPS / "memory"]
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            root = CGROUPS if number == "0" else CGROUPS / "memory"
            inner = PurePosixPath(path.lstrip("/"))
            found += [root / each for each in (inner, *inner.parents)]
    return list(dict.fromkeys(found))


def _of_file(path: str | Path, name: str) -> int | None:
    """The number that follows a name at the start of a line."""
    try:
        with open(path) as lines:
            return next(int(line.split()[1]) for line in lines if line.split()[:1] == [name])
    except (OSError, StopIteration, ValueError):
        return None


def _of_libc(name: str, *arguments: int) -> None:
    """One of glibc's functions called; nothing on systems that have another C library."""
    with suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
