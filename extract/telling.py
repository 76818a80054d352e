"""How far a task is, told on the way: a shard may take minutes, and somebody waits for it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

TOPIC = "vidret-videos"
SECONDS = 0.5  # between two things that a task tells


@dataclass(slots=True)
class Telling:
    """Tells whoever listens to the cluster how many videos of a shard have ended.

    Args:
        shard: the file that is being made.
    """

    shard: Path
    ended: int = 0
    told: float = -SECONDS

    def video_ended(self) -> None:
        """One more; told now and then, since there may be thousands of workers."""
        self.ended += 1
        now = time.monotonic()
        if now - self.told >= SECONDS:
            self.told = now
            _tell({"shard": str(self.shard), "ended": self.ended})


@dataclass(slots=True)
class Heard:
    """How many videos have ended in shards that are being made; safe to ask from any thread."""

    shards: set[str]
    ended: dict[str, int] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def videos(self) -> int:
        """Of all such shards together."""
        return sum(self.ended.values())

    def close(self, shard: Path) -> None:
        """A shard is there: its videos are counted by who has it, and late news do not matter."""
        with self.lock:
            self.shards.discard(str(shard))
            self.ended.pop(str(shard), None)


@contextmanager
def hearing(client: "Client", shards: set[Path], on_news: Callable[[], None]) -> Iterator[Heard]:
    """Listen to what tasks tell of these shards, others may use the cluster, too.

    Args:
        client: of the cluster.
        shards: files that are going to be made.
        on_news: called after each thing that is told, under the lock, in a thread of the client.
    """
    heard = Heard({str(shard) for shard in shards})

    def listen(event: tuple[float, dict[str, Any]]) -> None:
        _, news = event
        with heard.lock:
            if news["shard"] in heard.shards:
                heard.ended[news["shard"]] = news["ended"]
                on_news()

    client.subscribe_topic(TOPIC, listen)
    try:
        yield heard
    finally:
        with heard.lock:
            heard.shards.clear()
        if client.status == "running":
            client.unsubscribe_topic(TOPIC)


def _tell(news: dict[str, Any]) -> None:
    """Nobody listens where a task is called without a cluster."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return
    try:
        worker = distributed.get_worker()
    except ValueError:
        return
    worker.log_event(TOPIC, news)
