"""Limits on clients, in seconds, bytes and counts."""

from dataclasses import dataclass

from stylizer.memory import free_memory
from stylizer.settings import Settings

# Share of the memory free at the start for request bodies, which parsing copies; and the same for unread answers.
HELD_SHARE = 1 / 8


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 24 * 2**20
    held_bytes: int = 256 * 2**20  # all bodies together whose answers have not begun
    unsent_bytes: int = 256 * 2**20  # all unread answers together; beyond it the slowest readers are disconnected
    connections: int = 1000  # open at a time; the one idle longest is closed to make room
    threads: int = 16  # for quick requests: the page, its scripts, lists
    painting_threads: int = 0  # besides these, for requests that paint or wait for their turn
    header_bytes: int = 32 * 2**10  # browsers send 2 kB
    headers: int = 100
    header_seconds: float = 10.0  # to receive a request's headers; for the first request, from the connection's start
    # Sending a body and reading an answer may take `grace_seconds`, plus one second per `bytes_per_second` transferred:
    # a phone with poor reception sends 30 kB/s, and mobile networks stall for ten seconds in a tunnel.
    grace_seconds: float = 20.0
    bytes_per_second: int = 16 * 2**10
    idle_seconds: float = 75.0  # between requests; above the 60 after which proxies close, so that they close first
    request_seconds: float = 120.0  # from a complete request to the beginning of its answer
    drain_seconds: float = 6.0  # from the stop signal until unanswered requests are refused
    linger_seconds: float = 5.0  # keep reading after a refusal, so that clients that send everything first see it
    linger_bytes: int = 64 * 2**20
    tick_seconds: float = 0.25  # between checks of the clock

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits for these settings."""
        places = settings.slots + settings.queue_length
        held = settings.held_megabytes * 2**20 or int((free_memory() or 2**31) * HELD_SHARE)
        return cls(
            body_bytes=settings.max_body_bytes,
            held_bytes=max(settings.max_body_bytes, held),
            unsent_bytes=held,
            painting_threads=places + 2 * settings.optimise_slots,  # one optimising, and one waiting, per slot
            request_seconds=settings.request_seconds,
            drain_seconds=settings.drain_seconds,
        )
