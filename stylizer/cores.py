"""What the machine's processor can do, and how many of its cores this process may use, by affinity and container."""

import math
import os
import platform
from pathlib import Path

from stylizer import cgroups

# Control group files, versions 2 and 1: CPU time allowed in each period, and the period.
QUOTA_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
# Instructions that add four products of 8 bits at once, as Linux names them. Arm's are not here: nobody has tried them.
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni"}


def processor() -> tuple[str, set[str]]:
    """(its name, its instruction sets, as Linux names them: none where nothing tells)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    lines = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    lines = {key.strip(): value.strip() for key, value in lines.items()}
    flags = lines.get("flags") or lines.get("Features") or ""
    return lines.get("model name") or platform.processor() or platform.machine(), set(flags.split())


def usable() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota() -> float | None:
    """How many cores' time the container may use, such as 1.5; None if it has no limit."""
    found = []
    for folder in cgroups.folders("cpu"):
        for files in QUOTA_FILES:
            try:
                allowed, period = " ".join((folder / file).read_text() for file in files).split()
                if int(allowed) > 0:
                    found.append(int(allowed) / int(period))
            except (OSError, ValueError):  # not this version, or "max": no limit
                continue
    return min(found, default=None)


def threads(wanted: int = 0) -> int:
    """CPU threads for one picture: as many as `wanted`, or as the quota keeps busy.

    0 leaves it to the library, which starts one for each core that the process may run on and knows which of them are
    fast. It does not know the quota: with a thread for each of 64 cores and time for two, all would be stopped at the
    start of every period, and wait for each other.
    """
    limit = quota()
    if wanted or limit is None or limit >= usable():
        return wanted
    return max(1, math.ceil(limit))


def limit_torch(wanted: int = 0) -> None:
    """Have torch compute in this process with `threads(wanted)`."""
    import torch

    if count := threads(wanted):
        torch.set_num_threads(count)
