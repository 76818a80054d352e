"""Questions that come at the same time go through the models together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from vidret.data.errors import VidretError

MOST_TOGETHER = 32
MOST_WAITING = 256

Q = TypeVar("Q")
A = TypeVar("A")


class BusyError(VidretError):
    """More is asked than can be answered soon."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Q, A]):
    question: Q
    answer: "asyncio.Future[A]"


class Gathering(Generic[Q, A]):
    """While one pass runs, what comes in waits and makes up the next.

    Nobody waits for others to come: a lone question starts at once.

    Args:
        answer_all: answers some questions in one pass, in their order; runs in `executor`.
        executor: where passes run, one at a time.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Q]], Sequence[A]], executor: Executor
    ) -> None:
        self._answer_all, self._executor = answer_all, executor
        self._waiting: deque[_Waiting[Q, A]] = deque()
        self._passes: asyncio.Task[None] | None = None

    async def ask(self, question: Q, *, timeout: float) -> A:
        """The answer to one question.

        Raises:
            BusyError: too many wait already, or the answer did not come in time.
            VidretError: what the pass says of this question.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise BusyError("too many questions wait here: ask again in a few seconds")
        loop = asyncio.get_running_loop()
        one: _Waiting[Q, A] = _Waiting(question, loop.create_future())
        self._waiting.append(one)
        if self._passes is None or self._passes.done():
            self._passes = loop.create_task(self._run())
        try:
            return await asyncio.wait_for(one.answer, timeout)
        except TimeoutError:
            raise BusyError(f"no answer within {timeout:g} s: ask again later") from None

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), MOST_TOGETHER)
            batch = [self._waiting.popleft() for _ in range(count)]
            await self._answer([one for one in batch if not one.answer.done()])

    async def _answer(self, batch: Sequence[_Waiting[Q, A]]) -> None:
        """One pass for all; where it fails, one for each, so that nobody pays for another."""
        if not batch:
            return
        loop = asyncio.get_running_loop()
        questions = [one.question for one in batch]
        try:
            answers = await loop.run_in_executor(self._executor, self._answer_all, questions)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():  # whoever asked may have gone
                one.answer.set_result(answer)
