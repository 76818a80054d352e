"""How long the decoding of one file may take before it is stopped."""

TIMEOUT = 60.0  # seconds beside the video's own
UNKNOWN = 600.0  # where a file does not say how long it is
LONGEST = 6 * 3600.0  # where it claims more


def allowed_seconds(timeout: float, duration: float | None = None) -> float:
    """Seconds that a file may take: one for each of its own is five to fifty times what it needs.

    Args:
        timeout: seconds that any file may take beside that.
        duration: how long it says it is, 0 where it does not say; None before it is open.
    """
    return timeout + (0 if duration is None else min(duration or UNKNOWN, LONGEST))
