"""The named ways to score a matrix of similarities, and what each was published with.

A protocol says what a row and a column are, how many there were, and whom a video's captions
compete with. How ranks are counted is the same in all of them: see `heads/metrics.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from vidret.data.errors import ConfigError
from vidret.data.words import counted
from vidret.heads.metrics import Competition, summarize
from vidret.heads.similarities import (
    Array,
    Names,
    Owners,
    as_array,
    columns_of,
    require_as_many,
    require_fine,
    size_of,
)
from vidret.heads.streaming import DEFAULT_MEMORY, matrix_ranks_in_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One way to score a test split.

    Args:
        summary: what a row and a column are, in a line.
        v2t: whom a video's captions compete with, unless the caller says otherwise.
        videos: of the test split as published, None where it has no fixed size; so with captions.
        one_caption: each video has one caption, which may be a paragraph.
        notes: what numbers of other papers may have been measured on instead.
    """

    name: str
    summary: str
    v2t: Competition = "group"
    videos: int | None = None
    captions: int | None = None
    one_caption: bool = False
    notes: tuple[str, ...] = ()


PROTOCOLS: dict[str, Protocol] = {
    one.name: one
    for one in (
        Protocol(
            name="msvd-multi",
            summary="MSVD: each of the 18 to 81 captions of a test clip is a query",
            videos=670,
            captions=27_763,
            notes=("repeated captions stay, as everyone keeps them",),
        ),
        Protocol(
            name="msrvtt-1ka",
            summary="MSR-VTT 1k-A (JSFusion): one sentence a clip",
            videos=1000,
            captions=1000,
            one_caption=True,
            notes=(
                "four sentences occur more than once, so some videos tie in video to text",
                "there is no validation split: papers choose the epoch on the test split",
            ),
        ),
        Protocol(
            name="msrvtt-full",
            summary="MSR-VTT, official test split: each of the 20 captions of a clip is a query",
            videos=2990,
            captions=59_800,
        ),
        Protocol(
            name="msrvtt-1kb",
            summary="MSR-VTT 1k-B (Miech): the first caption of each clip",
            videos=1000,
            captions=1000,
            one_caption=True,
            notes=("not to be compared with 1k-A: 296 of its clips are the same",),
        ),
        Protocol(
            name="didemo-paragraph",
            summary="DiDeMo: all descriptions of a video, joined in the order of the file",
            videos=1004,
            captions=1004,
            one_caption=True,
            notes=(
                "many papers have 1,003 videos",
                "some join the descriptions by time: only 240 paragraphs are then the same",
            ),
        ),
        Protocol(
            name="lsmdc-1k",
            summary="LSMDC: the 1,000 clips of the challenge, one sentence a clip",
            videos=1000,
            captions=1000,
            one_caption=True,
        ),
        Protocol(
            name="activitynet-paragraph",
            summary="ActivityNet Captions, val_1: all sentences of a video, joined",
            videos=4917,
            captions=4917,
            one_caption=True,
            notes=("videos have left YouTube since: papers use what they found",),
        ),
        Protocol(
            name="vatex-multi",
            summary="VATEX, HGR's test split: each of the 10 captions of a clip is a query",
            videos=1500,
            captions=15_000,
            notes=("a second test split of 1,500 is in use, which shares 724 with this one",),
        ),
        Protocol(
            name="synth-multi",
            summary="the bundled synthetic set: each caption is a query",
            notes=("a demonstration and a test bed, not a benchmark",),
        ),
        Protocol(
            name="pairs",
            summary="your own pairs: row i belongs to column i, unless owners are given",
        ),
        Protocol(
            name="multi-group",
            summary="several captions a video, each a query; a video ranks groups of captions",
        ),
        Protocol(
            name="multi-caption",
            summary="several captions a video, each a query; a video ranks all captions",
            v2t="caption",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolScores:
    """The numbers of both directions, and what they are measured on.

    Args:
        protocol: its name.
        v2t_by: whom a video's captions competed with.
        videos: all columns; so are captions all rows.
        notes: how this is not what the protocol was published with.
    """

    protocol: str
    v2t_by: Competition
    videos: int
    captions: int
    t2v: dict[str, float]
    v2t: dict[str, float]
    notes: tuple[str, ...]


def score_protocol(
    similarity: Shaped[Array, "text video"],
    owners: Owners | None,
    protocol: str,
    v2t: Competition | None = None,
    *,
    names: Names | None = None,
    memory: int = DEFAULT_MEMORY,
) -> ProtocolScores:
    """Score a matrix of similarities, in memory or mapped, in both directions.

    Args:
        similarity: float32 or float64, texts in rows, videos in columns. Columns that own no text
            are distractors: they compete in text to video, and are no queries in video to text.
        owners: the column of each text's own video; None takes row i for column i.
        protocol: a name of `PROTOCOLS`.
        v2t: whom a video's captions compete with; None leaves it to the protocol.
        names: what a message calls texts and videos; their numbers if None.
        memory: bytes that are taken beside the matrix.

    Raises:
        ConfigError: there is no such protocol, the similarities are too coarse, or owners are
            wanted.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
        MissingError: there is nothing to rank.
    """
    chosen = find_protocol(protocol)
    require_fine(similarity.dtype)
    num_texts, num_videos = size_of(similarity)
    columns = _columns(owners, num_texts, num_videos)
    by = v2t or chosen.v2t
    ranks = matrix_ranks_in_blocks(as_array(similarity), columns, by=by, memory=memory, names=names)
    return ProtocolScores(
        protocol=chosen.name,
        v2t_by=by,
        videos=num_videos,
        captions=num_texts,
        t2v=summarize(ranks.t2v),
        v2t=summarize(ranks.v2t),
        notes=tuple(_deviations(chosen, columns, num_videos)),
    )


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {name!r}: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _columns(owners: Owners | None, num_texts: int, num_videos: int) -> NDArray[np.int64]:
    if owners is None and num_texts != num_videos:
        raise ConfigError(
            f"the matrix has {counted(num_texts, 'row')} and {counted(num_videos, 'column')}, and "
            "no owners: without them row i belongs to column i, so give the column of each "
            "text's video"
        )
    if owners is None:
        return np.arange(num_texts)
    require_as_many(len(owners), num_texts)
    return columns_of(owners, num_videos)


def _deviations(protocol: Protocol, owners: NDArray[np.int64], num_videos: int) -> Iterator[str]:
    """How this is not what the protocol was published with."""
    if protocol.videos not in (None, num_videos):
        yield (
            f"{protocol.name} was published with {counted(protocol.videos, 'video')}, here are "
            f"{num_videos:,}"
        )
    if protocol.captions not in (None, len(owners)):
        yield (
            f"{protocol.name} was published with {counted(protocol.captions, 'caption')}, here are "
            f"{len(owners):,}"
        )
    per_video = np.bincount(owners, minlength=num_videos)
    if protocol.one_caption and per_video.max() > 1:
        yield (
            f"{protocol.name} has one caption a video, here a video has up to {per_video.max():,}"
        )
    if distractors := int((per_video == 0).sum()):
        yield (
            f"{counted(distractors, 'video')} without captions: in text to video they compete, in "
            "video to text they are no queries"
        )
