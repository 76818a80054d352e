"""The workers of a cluster that answer together: who answers for what, and what if one dies.

Each part belongs to one worker, which has it open. A task goes to that worker and to no other, as
any other would first have to open the part. A worker that is gone leaves its parts to the others.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from vidret.data.errors import ItemsFailedError
from vidret.extract.schedule import scheduler_stays
from vidret.pipelines.searching.scene import Part, Place

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks whether a worker that we wait for is still there
TRIES = 3  # workers that may die over one part

Result = TypeVar("Result")


class Crew:
    """Asks workers about parts; safe to use from many threads.

    Args:
        client: of the cluster.
    """

    def __init__(self, client: "Client") -> None:
        self.client = client
        self._owners: dict[Place, str] = {}
        self._lock = Lock()

    def ask(
        self,
        parts: Sequence[Part],
        task: Callable[..., Result],
        *arguments: object,
        on_answer: Callable[[Result], None] = lambda _: None,
    ) -> list[Result]:
        """What a task returns for each part, each asked of the worker that it belongs to.

        Args:
            parts: to ask about.
            task: a function that workers can import; its first argument is the part.
            arguments: the others.
            on_answer: told each result as it comes.

        Raises:
            VidretError: raised by the task.
            ItemsFailedError: workers die over a part again and again.
            MissingError: the scheduler has gone.
        """
        from distributed import KilledWorker

        results: dict[int, Result] = {}
        tries: Counter[int] = Counter()
        running: dict[Future[Result], tuple[int, str]] = {}
        with scheduler_stays(self.client):
            if self.client.status == "closed":  # it has long given up
                raise ConnectionError
            try:
                waiting = list(range(len(parts)))
                while waiting or running:
                    owners = self._deal(parts)
                    for number in waiting:
                        future = self._submit(task, parts[number], arguments, owners[number])
                        running[future] = number, owners[number]
                    waiting = []
                    for future in self._done(running):
                        number, _ = running.pop(future)
                        try:
                            results[number] = future.result()
                        except KilledWorker:
                            waiting.append(number)
                        else:
                            on_answer(results[number])
                    waiting += [running.pop(future)[0] for future in self._orphans(running)]
                    _count_tries(tries, waiting, parts)
            finally:
                if self.client.status == "running":
                    self.client.cancel(list(running))
        return [results[number] for number in range(len(parts))]

    def _submit(
        self,
        task: Callable[..., Result],
        part: Part,
        arguments: Sequence[object],
        worker: str,
    ) -> "Future[Result]":
        return self.client.submit(task, part, *arguments, workers=[worker], pure=False)

    def _done(self, running: "dict[Future[Any], tuple[int, str]]") -> "list[Future[Any]]":
        """Those that have ended; waited for, but not for long."""
        from distributed import wait

        try:
            return list(wait(list(running), LOOK_SECONDS, "FIRST_COMPLETED").done)
        except TimeoutError:
            return []

    def _orphans(self, running: "dict[Future[Any], tuple[int, str]]") -> "list[Future[Any]]":
        """Those whose worker has gone."""
        there = self.client.nthreads() if running else {}
        lost = [future for future, (_, worker) in running.items() if worker not in there]
        self.client.cancel(lost)
        return lost

    def _deal(self, parts: Sequence[Part]) -> list[str]:
        """The worker of each part: where it was, or with the one that has the fewest."""
        with self._lock:
            if not self.client.nthreads():
                log.warning("No worker is left: waiting for one")
                self.client.wait_for_workers(1)
            places = [part.place for part in parts]
            self._owners = deal(places, sorted(self.client.nthreads()), self._owners)
            return [self._owners[place] for place in places]


def deal(
    places: Sequence[Place], workers: Sequence[str], before: Mapping[Place, str]
) -> dict[Place, str]:
    """Whom each part belongs to.

    A part stays where it was, unless its worker has gone or has two more than another. The same
    parts and workers are always dealt the same way, so that the next command finds them open.

    Args:
        places: of the parts to deal out.
        workers: at least one.
        before: how they were dealt last.
    """
    owners = {place: before[place] for place in places if before.get(place) in workers}
    loads = Counter(owners.values())
    for place in places:
        least = min(workers, key=lambda worker: (loads[worker], worker))
        owner = owners.get(place)
        if owner is None or loads[owner] > loads[least] + 1:
            if owner is not None:
                loads[owner] -= 1
            owners[place] = least
            loads[least] += 1
    return owners


def _count_tries(tries: "Counter[int]", lost: Sequence[int], parts: Sequence[Part]) -> None:
    tries.update(lost)
    for number in lost:
        part = parts[number]
        if tries[number] >= TRIES:
            raise ItemsFailedError(
                f"{TRIES} workers died over share {part.number + 1} of {part.of} of "
                f"{part.cache.name}: look for too little memory on the workers, or make more and "
                "smaller shares with `vidret index build --shares`"
            )
        log.warning("A worker died: share %d of %d goes to another", part.number + 1, part.of)
