"""What a searcher is asked and what it answers."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from vidret.data.errors import MissingError
from vidret.data.printable import printable


class UnknownVideoError(MissingError):
    """An id that no video has."""


def unknown_video(opaque_id: str) -> UnknownVideoError:
    """What to say of an id that no video has."""
    return UnknownVideoError(
        f"no video has the id {printable(opaque_id[:40])!r}: take one that a search gave, and "
        "search again if the videos have changed since"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to look for, and how.

    Args:
        text: in one's own words.
        top: how many hits to give.
        head: the name of one of the searcher's heads; None takes the first.
        audio_weight: what the sound counts; 1 is as the head weighs it, 0 leaves it out.
        where: globs on the path below the root, any of which may match; empty lets all in.
        since: only files that were last modified on this day or later.
        only_with_sound: only videos whose sound is known.
        exhaustive: score every video, without a shortlist.
    """

    text: str
    top: int = 10
    head: str | None = None
    audio_weight: float = 1.0
    where: tuple[str, ...] = ()
    since: date | None = None
    only_with_sound: bool = False
    exhaustive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One video that was found, the moment that answers, and what its score is made of.

    Args:
        rank: from 1.
        id: opaque and stable: a hash that holds no path.
        name: of the file.
        path: of the file, below the root of the dataset.
        video_id: what the dataset calls the video.
        score: the sum of `parts`.
        probability: that the video is meant, as learned on validation; None where nothing was.
        weaker: whether it lies below the threshold that was learned there.
        parts: what each part of the head adds.
        start: of the moment, in seconds; so are `end` and `peak`.
        sound: what became of the sound: ok, silent, no-stream or failed.
        strip: what each frame counts for the sentence.
        times: of the frames in seconds.
        duration: of the video in seconds.
        rank_without_sound: where it would stand if the sound counted nothing.
        sound_alone: what the sound adds where `audio_weight` is 1; 0 where the head hears none.
        root: where the dataset's files lie.
    """

    rank: int
    id: str
    name: str
    path: str
    video_id: str
    score: float
    probability: float | None
    weaker: bool
    parts: dict[str, float]
    start: float
    end: float
    peak: float
    sound: str
    strip: tuple[float, ...]
    times: tuple[float, ...]
    duration: float
    rank_without_sound: int
    sound_alone: float
    root: Path

    @property
    def file(self) -> Path:
        """Where its file is, or was."""
        return self.root / self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The videos that fit a question best.

    Args:
        question: as it was asked.
        head: the name of the head that ranked.
        hits: the best first.
        searched: how many videos were asked for, after all filters.
        matches: how many of them lie above the threshold, as far as they were scored; None where
            no threshold was learned.
        failed: how many of the dataset could not be read.
        truncated: whether the model could not read the question to its end.
        tokens: what the model read.
        seconds: what it took, shared with the questions that were asked at once.
        exhaustive: whether every video was scored.
    """

    question: Question
    head: str
    hits: tuple[Hit, ...]
    searched: int
    matches: int | None
    failed: int
    truncated: bool
    tokens: tuple[str, ...]
    seconds: float
    exhaustive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a video answers a question.

    Args:
        question: as it was asked.
        head: the name of the head that ranks.
        hit: the video; its rank is 0, as it was not compared with others.
        words: of the question, as the model cut it, pieces of a word put together.
        word_shares: what each word counts; they add up to 1, if there is a word.
        grid: for each word, what each frame counts for it; a row adds up to 1.
        of_head: whether words and grid are the head's own weights; otherwise they are the likeness
            of word and frame in CLIP's space, as the head does not look at single words.
        times: of the frames in seconds.
        parts: what each part of the head adds to the score.
        sound_share: what the sound has of all that the parts add or take away, 0 to 1.
    """

    question: Question
    head: str
    hit: Hit
    words: tuple[str, ...]
    word_shares: tuple[float, ...]
    grid: tuple[tuple[float, ...], ...]
    of_head: bool
    times: tuple[float, ...]
    parts: dict[str, float]
    sound_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A video that looks like another; `similarity` is the cosine of their mean frames.

    The other fields are those of a hit.
    """

    rank: int
    id: str
    name: str
    path: str
    video_id: str
    similarity: float
    sound: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How the files differ from what was cached of them; ids of the dataset."""

    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gone or self.changed or self.new)

    def __str__(self) -> str:
        told = (("new", self.new), ("changed", self.changed), ("gone", self.gone))
        return ", ".join(f"{len(names):,} {what}" for what, names in told if names)

    def leave_none_of(self, videos: int) -> bool:
        """Whether all are gone, and none came: rather a drive that is missing than a wish."""
        return len(self.gone) == videos > 0 and not self.new


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a searcher searches in.

    Args:
        videos: how many can be found.
        failed: how many could not be read.
        with_sound: how many have a sound that is known.
        cache: the folder of the cache.
        fingerprint: digest of what decides its features.
        heads: the digest of each head by its name.
        index: for each head `exhaustive`, or the kind of its index.
        updated: when cache or index were written last.
        changed: how the files differ now from what was cached of them.
        examples: a few captions of the cache, if it has some.
    """

    videos: int
    failed: int
    with_sound: int
    cache: Path
    fingerprint: str
    heads: dict[str, str]
    index: dict[str, str]
    updated: datetime
    changed: Differences
    examples: tuple[str, ...]
