"""How often a wrong token came from where: after several, that place has to wait."""

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

MOST_WRONG = 8
WAIT_SECONDS = 60.0
FORGET_SECONDS = 900.0  # after the last wrong one, all of them are forgotten
MOST_PLACES = 4_096  # that are remembered; beyond it those of longest ago are forgotten
SUBNET = 64  # bits of an IPv6 address that one household or machine has for itself


@dataclass(frozen=True, slots=True)
class _Wrong:
    """How many wrong tokens came from a place, and when the last one did."""

    count: int
    last: float


class Guesses:
    """Counts wrong tokens by the address that they came from.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()

    def __len__(self) -> int:
        return len(self._wrong)

    def wait(self, address: str) -> int:
        """Whole seconds until a token from an address is looked at again; 0 is now."""
        known = self._known(_place(address))
        if known.count < MOST_WRONG:
            return 0
        return max(0, math.ceil(known.last + WAIT_SECONDS - self._clock()))

    def note_wrong(self, address: str) -> None:
        """A wrong token came from an address."""
        place = _place(address)
        count = self._known(place).count + 1
        self._wrong[place] = _Wrong(count, self._clock())
        self._wrong.move_to_end(place)
        while len(self._wrong) > MOST_PLACES:
            self._wrong.popitem(last=False)
        if count == MOST_WRONG:
            log.warning("Wrong tokens came from %s: it has to wait between more of them", place)

    def note_right(self, address: str) -> None:
        """The right token came from an address: what was wrong before were slips."""
        self._wrong.pop(_place(address), None)

    def _known(self, place: str) -> _Wrong:
        known = self._wrong.get(place)
        if known is None or self._clock() > known.last + FORGET_SECONDS:
            return _Wrong(0, 0.0)
        return known


def _place(address: str) -> str:
    """What one guesser has: an address, or all of the IPv6 subnet that comes with one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), SUBNET), strict=False))
