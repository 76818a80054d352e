"""A question before it is answered: checked, and read by the text tower."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError
from vidret.extract.clip import EncodedText
from vidret.extract.embedding import computing
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.pipelines.config.searching import MOST_AUDIO
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.searching.explaining import tokens_of
from vidret.pipelines.searching.globs import check_globs

LONGEST = 1_500  # characters that are read; no model of ours has room for as many
MOST_GLOBS = 20
SAYS_SOMETHING = (  # a sign that is seen, in any dialect of regular expressions
    r"[^\s\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A text as the model read it; `tokens` are pieces of words."""

    encoded: EncodedText
    tokens: tuple[str, ...]
    truncated: bool


def open_reader(cache: FeatureCache, *, device: str, offline: bool) -> "Reader":
    """Load the text tower that the captions of a cache were read by.

    Raises:
        MissingError: its weights are not there.
    """
    spec = EncoderSpec(
        backbone=cache.manifest.settings["backbone"],
        audio="none",
        device=device,
        offline=offline,
        precision=cache.fingerprint.precision,
    )
    return Reader(load_encoders(spec))


class Reader:
    """The text tower of a cache; it reads each text of a batch once, one batch at a time."""

    def __init__(self, encoders: Encoders) -> None:
        self.encoders = encoders
        self._lock = Lock()

    def read_each(self, asked: Sequence[tuple[str, bool]]) -> list[Read]:
        """Read texts together, each before or after the last projection as it is wanted."""
        kinds = {hidden for _, hidden in asked}
        read = {
            kind: self.read([text for text, hidden in asked if hidden is kind], hidden=kind)
            for kind in kinds
        }
        return [read[hidden][text] for text, hidden in asked]

    def read(self, texts: Sequence[str], *, hidden: bool) -> dict[str, Read]:
        """Encode texts, each cut where it is longer than any model reads.

        Args:
            texts: whatever people type.
            hidden: before the last projection.
        """
        cut = {text: _cut(text) for text in texts}
        unique = sorted({short for short, _ in cut.values()})
        clip, device = self.encoders.clip, self.encoders.device
        with self._lock, computing(device, self.encoders.precision):
            rows = clip.encode_texts(unique, device, hidden=hidden) if unique else []
        encoded = dict(zip(unique, rows, strict=True))
        return {
            text: Read(
                encoded=encoded[short],
                tokens=tuple(tokens_of(clip, encoded[short].tokens)),
                truncated=encoded[short].truncated or was_cut,
            )
            for text, (short, was_cut) in cut.items()
        }


def check_question(question: Question) -> Question:
    """Refuse what cannot be answered, and return what can.

    Raises:
        ConfigError: the text is empty, or a number makes no sense.
    """
    if not re.search(SAYS_SOMETHING, question.text):
        raise ConfigError("query is empty: say what to look for")
    if question.top < 1:
        raise ConfigError(f"top is {question.top}: give 1 or more")
    weight = question.audio_weight
    if not (math.isfinite(weight) and 0 <= weight <= MOST_AUDIO):
        raise ConfigError(f"audio_weight is {weight}: give 0 to {MOST_AUDIO:g}")
    if len(question.where) > MOST_GLOBS:
        raise ConfigError(f"where has {len(question.where)} globs: give at most {MOST_GLOBS}")
    check_globs(question.where)
    return replace(question, where=tuple(question.where))


def _cut(text: str) -> tuple[str, bool]:
    """A text without signs that are no letters, on one line, and short enough to be read."""
    whole = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return whole[:LONGEST], len(whole) > LONGEST
