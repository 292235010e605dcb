"""Memory: what this process may still take, by machine and container, and refusing what would not fit.

Whoever is about to allocate asks here first: past the limit the system ends the process, and every request with it.
"""

from stylizer.errors import OutOfMemory

CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory() -> int | None:
    """Bytes that this process may still take, by machine and container; None where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    for limit, used in CGROUP_FILES:
        try:
            with open(limit) as limit_file, open(used) as used_file:
                free = min(free, int(limit_file.read()) - int(used_file.read()))
        except (OSError, ValueError):  # no such cgroup version here, or "max": no limit
            continue
    return free


def check_room(needed: int, what: str, advice: str = "try again in a few seconds, or send a smaller picture") -> None:
    """OutOfMemory where `needed` bytes for `what` ("decoding content") are not free at the moment."""
    free = free_memory()
    if free is not None and needed > free:
        raise OutOfMemory(f"{what} needs {needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB is free; {advice}")
