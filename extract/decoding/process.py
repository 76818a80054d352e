"""One decoding process as seen from the other side: give it a file, read what it tells, end it."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vidret.extract.decoding.deadline import TIMEOUT, allowed_seconds
from vidret.extract.decoding.events import Ended, Event, Opened
from vidret.extract.decoding.messages import (
    Content,
    Job,
    Looked,
    Refused,
    read_message,
    write_message,
)
from vidret.extract.decoding.sampling import Sampling

PIPE_SIZE = 1 << 20
MEMORY = 4 << 30  # bytes that a decoder may hold: pictures of 100 megapixels need about 3
# -P: a file of the user's folder that is called like a module is not one.
COMMAND = ("-P", "-m", "vidret.extract.decoding.child")


class ProcessDiedError(Exception):
    """The decoding process is gone, or had to be stopped; the message says how it ended."""


class DecodingProcess:
    """A process that decodes one file after the other; it is started when it is needed.

    Args:
        memory: bytes that it may hold, its code and libraries left out.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    def decode(
        self, path: Path, *, sampling: Sampling, decoder: str, timeout: float = TIMEOUT
    ) -> Iterator[Content | Event | Refused]:
        """What the process tells of a file: `Content`, then the events, or `Refused` at any time.

        Raises:
            ProcessDiedError: it crashed over the file, or did not come to an end with it.
        """
        job = Job(path=os.fsencode(path), sampling=sampling, decoder=decoder, timeout=timeout)
        yield from self._ask(job)

    def look(self, path: Path, *, timeout: float = TIMEOUT) -> Looked | Refused:
        """What the headers of a file say; nothing of it is decoded.

        Raises:
            ProcessDiedError: as `decode`.
        """
        job = Job(
            path=os.fsencode(path),
            sampling=Sampling(1),
            decoder="av",
            timeout=timeout,
            only_headers=True,
        )
        (answer,) = self._ask(job)
        return answer

    def _ask(self, job: Job) -> Iterator[Any]:
        process, timeout = self._running(), job.timeout
        answers = _Answers(process, allowed_seconds(timeout))
        try:
            write_message(_descriptor(process.stdin), job)
            while True:
                message = read_message(answers.read)
                if isinstance(message, Opened):
                    answers.limit = allowed_seconds(timeout, message.seconds)
                yield message
                if isinstance(message, Ended | Looked | Refused):
                    return
        except (BrokenPipeError, EOFError) as error:
            code = self._end()
            raise ProcessDiedError(_how_it_ended(code)) from error
        except TimeoutError as error:
            self._end()
            raise ProcessDiedError(f"no end after {answers.limit:.0f} s") from error
        except GeneratorExit:  # nobody wants the rest, and the next file must not find it here
            self._end()
            raise

    def close(self) -> None:
        """End the process, if there is one."""
        self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, *COMMAND, str(self.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is not its business; and its helpers end with it
                env=_environment(),
            )
            with suppress(OSError):  # a larger pipe is quicker, and no more than that
                fcntl.fcntl(_descriptor(self._process.stdout), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        return self._process

    def _end(self) -> int:
        """Kill it and all it started, and give its exit code: negative is the signal."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            if process.poll() is None and not _ends_soon(process):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code


class _Answers:
    """The output of a process; only the time spent waiting for it counts."""

    def __init__(self, process: subprocess.Popen[bytes], limit: float) -> None:
        self.limit = limit
        self.waited = 0.0
        self._handle = _descriptor(process.stdout)
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def read(self, view: memoryview) -> None:
        """Fill a buffer.

        Raises:
            EOFError: the process has ended.
            TimeoutError: it takes too long.
        """
        while view:
            began = time.monotonic()
            ready = self._poll.poll(max(0.0, self.limit - self.waited) * 1000)
            self.waited += time.monotonic() - began
            if not ready:
                raise TimeoutError
            count = os.readv(self._handle, [view])
            if not count:
                raise EOFError
            view = view[count:]


def _ends_soon(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process whose pipe is closed is just about to leave, so that its code is known."""
    if process.stdout is not None and select.select([process.stdout], [], [], 0)[0]:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
            return True
    return False


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"it left with code {code}"
    if code == -signal.SIGXCPU:
        return "it took all the time it may"
    return f"it was ended by {signal.Signals(-code).name}"


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _descriptor(pipe: object) -> int:
    assert pipe is not None
    return pipe.fileno()  # type: ignore[attr-defined]  # Popen types its pipes as optional
