"""The process that decodes: it may crash or hang over a file, and only that file is lost.

It reads jobs from its standard input and writes events to its standard output until the input ends.
Torch stays out of it, so that it is small and starts at once.
"""

import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vidret.data.errors import DecodeError, VidretError
from vidret.data.printable import printable
from vidret.extract.decode import decode_events
from vidret.extract.decoding.deadline import allowed_seconds
from vidret.extract.decoding.events import Again, Ended, Event, Opened, Picture, SoundPart
from vidret.extract.decoding.files import check_file
from vidret.extract.decoding.messages import (
    ArrayHead,
    Content,
    Job,
    Refused,
    read_message,
    write_message,
)
from vidret.extract.decoding.with_av import look_with_av
from vidret.extract.planning.content import look_at_content

log = logging.getLogger(__name__)

WITHOUT_LIMIT = ("nvdec",)  # CUDA alone reserves more than a decoder may take


def main() -> None:
    """Serve jobs until there are no more."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not come between the messages
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            job: Job = read_message(_read_input)
        except EOFError:
            return
        if job.decoder not in WITHOUT_LIMIT:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        try:
            _serve(job, answers)
        except BrokenPipeError:  # whoever asked is gone
            return


def _serve(job: Job, answers: int) -> None:
    path = Path(os.fsdecode(job.path))
    _allow_seconds(allowed_seconds(job.timeout))
    try:
        check_file(path)  # before the look: a pipe would never end
        if job.only_headers:
            write_message(answers, look_with_av(path))
            return
        before = _stamp(path)
        write_message(answers, Content(*look_at_content(path)))
        for event in decode_events(path, sampling=job.sampling, decoder=job.decoder):
            if isinstance(event, Ended):
                _require_same(path, before)
            _tell(event, job, answers)
    except DecodeError as error:
        write_message(answers, Refused(str(error)))
    except VidretError as error:
        write_message(answers, Refused(str(error), missing=True))
    except BrokenPipeError:
        raise
    except MemoryError:
        reason = "needs more memory than a decoder may take: convert it to a smaller size"
        write_message(answers, Refused(f"{printable(path)} {reason}"))
    except Exception as error:
        log.exception("unexpected")
        words = (str(error).strip() or "no message").splitlines()[0]
        reason = f"cannot be decoded (unexpected {type(error).__name__}: {words}): convert it again"
        write_message(answers, Refused(f"{printable(path)} {reason}"))


def _require_same(path: Path, before: tuple[int, ...]) -> None:
    if _stamp(path) != before:
        raise DecodeError(
            f"{printable(path)} changed while it was read: extract it again with --retry-failed "
            "once it is whole"
        )


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; nothing stands for a file that is gone."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _tell(event: Event, job: Job, answers: int) -> None:
    match event:
        case Opened(seconds):
            _allow_seconds(allowed_seconds(job.timeout, seconds))
            write_message(answers, event)
        case Picture(image):
            _tell_array(Picture, image, answers)
        case SoundPart(samples):
            _tell_array(SoundPart, samples, answers)
        case Again() | Ended():
            write_message(answers, event)


def _tell_array(kind: type, values: Any, answers: int) -> None:  # noqa: ANN401 - any array
    values = np.ascontiguousarray(values)
    write_message(answers, ArrayHead(kind, values.dtype.str, values.shape), values)


def _allow_seconds(seconds: float) -> None:
    """Let the system end a loop that never ends, also where nobody is left to watch."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _read_input(view: memoryview) -> None:
    while view:
        count = os.readv(0, [view])
        if not count:
            raise EOFError
        view = view[count:]


if __name__ == "__main__":
    main()
