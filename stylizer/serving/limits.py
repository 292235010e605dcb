"""What a client may take of the server, in seconds, bytes and numbers."""

from dataclasses import dataclass

from stylizer.memory import free_memory
from stylizer.settings import Settings

# Of the memory free at the start, for bodies, of which reading a form makes copies; and as much for unread answers.
HELD_SHARE = 1 / 8


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 24 * 2**20
    held_bytes: int = 256 * 2**20  # of all bodies together whose answers have not begun
    unsent_bytes: int = 256 * 2**20  # of answers made and not read yet, together; then the slowest readers are cut off
    connections: int = 1000  # open at a time; the one that has been idle longest makes room for another
    threads: int = 16  # for what is quickly done: the page, its scripts, lists
    painting_threads: int = 0  # beside these, for requests that paint or wait for their turn
    header_bytes: int = 32 * 2**10  # browsers send 2 kB
    headers: int = 100
    header_seconds: float = 10.0  # for the first request of a connection, from its start, until its headers are whole
    # Bodies, and readers of answers, have `grace_seconds` and then a second more for each `bytes_per_second` that went
    # through: a phone far from its mast sends 30 kB/s, and mobile networks stall for ten seconds in a tunnel.
    grace_seconds: float = 20.0
    bytes_per_second: int = 16 * 2**10
    idle_seconds: float = 75.0  # between requests; more than the 60 after which proxies let go, so that they go first
    request_seconds: float = 120.0  # from a whole request to the beginning of its answer
    drain_seconds: float = 6.0  # from being told to stop until what is not answered is refused
    linger_seconds: float = 5.0  # reading on behind a refusal, so that who sends all before reading learns of it
    linger_bytes: int = 64 * 2**20
    tick_seconds: float = 0.25  # between looks at the clock

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """As the settings have it."""
        places = settings.slots + settings.queue_length
        held = settings.held_megabytes * 2**20 or int((free_memory() or 2**31) * HELD_SHARE)
        return cls(
            body_bytes=settings.max_body_bytes,
            held_bytes=max(settings.max_body_bytes, held),
            unsent_bytes=held,
            painting_threads=places + 2 * settings.optimise_slots,  # one optimised, and one waiting for it
            request_seconds=settings.request_seconds,
            drain_seconds=settings.drain_seconds,
        )
