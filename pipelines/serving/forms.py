"""The answers of the API as JSON: what its schema promises, and how it is made of vidret's own."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vidret.data.printable import printable
from vidret.pipelines.searching.answers import Answer, Explanation, Hit, Neighbour, Status
from vidret.pipelines.searching.truth import Truth
from vidret.pipelines.serving.opening import Standing
from vidret.pipelines.serving.previews import Preview

SHOWN_DIFFERENCES = 20

Parts = dict[str, float]


class Form(BaseModel):
    """What all answers share: nothing stands in them that the schema does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemForm(Form):
    """Why there is no answer, in one sentence."""

    error: str


class HitForm(Form):
    """A video that was found, and the moment that answers."""

    rank: int
    id: str = Field(description="Opaque name of the video, for the other addresses.")
    name: str
    path: str = Field(description="Below the folder that is searched; shown, never taken.")
    score: float = Field(description="The sum of the parts.")
    probability: float | None = Field(description="That this video is meant, learned on val.")
    weaker: bool = Field(description="Below the threshold that was learned on val.")
    parts: Parts
    sound_alone: float = Field(description="What the sound adds where its weight is 1.")
    start: float
    end: float
    peak: float
    sound: str = Field(description="ok, silent, no-stream or failed.")
    strip: list[float] = Field(description="What each frame counts for the sentence.")
    times: list[float]
    duration: float
    rank_without_sound: int


class AnswerForm(Form):
    """The videos that fit a query best, the best first."""

    query: str
    head: str
    audio_weight: float
    hits: list[HitForm]
    searched: int
    matches: int | None = Field(description="How many lie above the threshold, where one is known.")
    failed: int
    truncated: bool = Field(description="Whether the model could not read the query to its end.")
    tokens: list[str] = Field(description="What the model read.")
    seconds: float
    exhaustive: bool


class TruthForm(Form):
    """Where the right videos stand, for a query that is a caption of what is searched."""

    query: str
    head: str
    videos: int = Field(description="How many have this caption; 0 where it is none.")
    left_out: int = Field(description="How many of them the filters keep out.")
    hits: list[HitForm] = Field(description="The others, each with its rank among `searched`.")
    searched: int = Field(description="What the filters let in, every one scored.")


class ExplanationForm(Form):
    """Why a video answers a query."""

    query: str
    head: str
    hit: HitForm
    words: list[str]
    word_shares: list[float]
    grid: list[list[float]] = Field(description="A row a word, a column a frame.")
    of_head: bool = Field(description="Whether the grid is the head's own; else CLIP's likeness.")
    times: list[float]
    parts: Parts
    sound_share: float


class NeighbourForm(Form):
    """A video that looks like another."""

    rank: int
    id: str
    name: str
    path: str
    similarity: float = Field(description="The cosine of their mean frames.")
    sound: str
    duration: float


class NeighboursForm(Form):
    """The videos that look most like one, the most like first."""

    neighbours: list[NeighbourForm]


class PreviewForm(Form):
    """How a video can be played."""

    state: Literal["native", "absent", "preparing", "ready", "failed", "off"]
    seconds: float = Field(description="Of the preview that are made.")
    reason: str
    address: str | None = Field(description="What a player takes; null until there is something.")


class ProgressForm(Form):
    """How far the making of the index is."""

    done: int
    failed: int
    skipped: int
    total: int
    note: str


class DifferencesForm(Form):
    """How many files are not as they were when they were indexed, and the first of them."""

    gone: int
    changed: int
    new: int
    names: list[str]


class StatusForm(Form):
    """What is searched, and whether it can be."""

    state: Literal["building", "ready", "refused"]
    reason: str
    progress: ProgressForm
    version: str
    read_only: bool
    videos: int = 0
    failed: int = 0
    with_sound: int = 0
    cache: str = ""
    fingerprint: str = ""
    heads: list[str] = []
    digests: dict[str, str] = {}
    index: dict[str, str] = {}
    updated: str = ""
    examples: list[str] = []
    differs: DifferencesForm | None = None


def form_of_hit(hit: Hit) -> HitForm:
    """A hit for the wire: what no screen shows is spelt out in its names."""
    return HitForm(
        rank=hit.rank,
        id=hit.id,
        name=printable(hit.name),
        path=printable(hit.path),
        score=hit.score,
        probability=hit.probability,
        weaker=hit.weaker,
        parts=hit.parts,
        sound_alone=hit.sound_alone,
        start=hit.start,
        end=hit.end,
        peak=hit.peak,
        sound=str(hit.sound),
        strip=list(hit.strip),
        times=list(hit.times),
        duration=hit.duration,
        rank_without_sound=hit.rank_without_sound,
    )


def form_of_answer(answer: Answer) -> AnswerForm:
    """An answer for the wire."""
    return AnswerForm(
        query=answer.question.text,
        head=answer.head,
        audio_weight=answer.question.audio_weight,
        hits=[form_of_hit(hit) for hit in answer.hits],
        searched=answer.searched,
        matches=answer.matches,
        failed=answer.failed,
        truncated=answer.truncated,
        tokens=list(answer.tokens),
        seconds=answer.seconds,
        exhaustive=answer.exhaustive,
    )


def form_of_truth(truth: Truth) -> TruthForm:
    """What is right, for the wire."""
    return TruthForm(
        query=truth.question.text,
        head=truth.head,
        videos=truth.videos,
        left_out=truth.left_out,
        hits=[form_of_hit(hit) for hit in truth.hits],
        searched=truth.searched,
    )


def form_of_explanation(why: Explanation) -> ExplanationForm:
    """An explanation for the wire."""
    return ExplanationForm(
        query=why.question.text,
        head=why.head,
        hit=form_of_hit(why.hit),
        words=list(why.words),
        word_shares=list(why.word_shares),
        grid=[list(row) for row in why.grid],
        of_head=why.of_head,
        times=list(why.times),
        parts=why.parts,
        sound_share=why.sound_share,
    )


def form_of_neighbour(neighbour: Neighbour) -> NeighbourForm:
    """A neighbour for the wire."""
    return NeighbourForm(
        rank=neighbour.rank,
        id=neighbour.id,
        name=printable(neighbour.name),
        path=printable(neighbour.path),
        similarity=neighbour.similarity,
        sound=str(neighbour.sound),
        duration=neighbour.duration,
    )


def form_of_preview(video: str, preview: Preview) -> PreviewForm:
    """How a video is played, and at which address."""
    places = {"native": "media", "ready": "preview/media"}
    place = places.get(preview.state)
    return PreviewForm(
        state=preview.state,
        seconds=preview.seconds,
        reason=preview.reason,
        address=None if place is None else f"/api/videos/{video}/{place}",
    )


def form_of_status(
    standing: Standing,
    status: Status | None,
    *,
    bare: Callable[[str], str],
    version: str,
    read_only: bool,
) -> StatusForm:
    """How a server stands; its sentences are told as `bare` makes them, without folders."""
    progress = standing.progress
    made = ProgressForm(
        done=progress.done,
        failed=progress.failed,
        skipped=progress.skipped,
        total=progress.total,
        note=printable(bare(progress.note)),
    )
    base = StatusForm(
        state=standing.state,
        reason=bare(standing.reason),
        progress=made,
        version=version,
        read_only=read_only,
    )
    if status is None:
        return base
    differs = status.changed
    names = [*differs.gone, *differs.changed, *differs.new][:SHOWN_DIFFERENCES]
    return base.model_copy(
        update={
            "videos": status.videos,
            "failed": status.failed,
            "with_sound": status.with_sound,
            "cache": status.cache.name,
            "fingerprint": status.fingerprint,
            "heads": list(status.heads),
            "digests": status.heads,
            "index": status.index,
            "examples": list(status.examples),
            "updated": status.updated.isoformat(timespec="seconds"),
            "differs": DifferencesForm(
                gone=len(differs.gone),
                changed=len(differs.changed),
                new=len(differs.new),
                names=[printable(name) for name in names],
            ),
        }
    )
