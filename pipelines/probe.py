"""`vidret probe`: one file decoded as extract would, and what came of it."""

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.errors import DecodeError, MissingError, VidretError
from vidret.data.printable import printable
from vidret.data.samples import VideoFacts
from vidret.extract.decode import SAMPLE_RATE, decoder_version
from vidret.extract.decoding.events import Again, Ended, Opened, SoundPart
from vidret.extract.decoding.files import unreadable
from vidret.extract.decoding.messages import Content, Refused
from vidret.extract.decoding.process import DecodingProcess, ProcessDiedError
from vidret.extract.decoding.sampling import parse_sampling
from vidret.pipelines.config.settings import ProbeConfig

DONE, PARTIAL, FAILED = "ok", "partial", "failed"


@dataclass(slots=True, kw_only=True)
class ProbeReport:
    """What came of one file; what it did not get to is left at nothing.

    Args:
        reason: why it failed, in one sentence.
        bytes: size of the file, 0 where it was not even opened.
        claimed: seconds that the file says it lasts, 0 where it does not say.
        sound: seconds of sound that were heard, whatever they were worth.
        again: the decoder had to begin anew, since the file's own list of frames misled it.
        seconds: how long decoding took.
    """

    path: str
    decoder: str
    sampling: str
    reason: str = ""
    bytes: int = 0
    claimed: float = 0.0
    sound: float = 0.0
    again: bool = False
    seconds: float = 0.0
    facts: VideoFacts | None = None

    @property
    def state(self) -> str:
        """`ok`, `partial` where something was left out, or `failed`."""
        if self.facts is None:
            return FAILED
        return PARTIAL if self.facts.partial else DONE

    @property
    def verdict(self) -> VidretError | None:
        """The reason of a file that failed."""
        return DecodeError(self.reason) if self.state == FAILED else None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        told = {"state": self.state, **asdict(self)}
        if self.facts is not None:
            told["facts"] |= {
                "times": self.facts.times.tolist(),
                "indices": self.facts.indices.tolist(),
            }
        return told


def run_probe(config: ProbeConfig) -> ProbeReport:
    """Decode one file in a process of its own, as extract does, and keep what is said of it.

    Raises:
        MissingError: what the decoder needs is not installed.
    """
    report = ProbeReport(
        path=printable(config.path),
        decoder=decoder_version(config.decoder),
        sampling=config.sampling,
    )
    with closing(DecodingProcess()) as process:
        try:
            _follow(process, config, report)
        except ProcessDiedError as error:
            report.reason = str(unreadable(config.path, str(error)))
    return report


def _follow(process: DecodingProcess, config: ProbeConfig, report: ProbeReport) -> None:
    """Note what a process tells of the file."""
    sampling = parse_sampling(config.sampling, config.frames)
    samples, began = 0, time.monotonic()
    for told in process.decode(
        Path(config.path), sampling=sampling, decoder=config.decoder, timeout=config.timeout
    ):
        match told:
            case Content(size):
                report.bytes, began = size, time.monotonic()  # without the start of the process
            case Opened(seconds):
                report.claimed = seconds
            case SoundPart(part):
                samples += len(part)
            case Again():
                report.again = True
            case Ended(facts):
                report.facts = facts
            case Refused(reason, missing):
                if missing:
                    raise MissingError(reason)
                report.reason = reason
        report.sound = samples / SAMPLE_RATE
        report.seconds = time.monotonic() - began
