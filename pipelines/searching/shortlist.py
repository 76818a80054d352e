"""The likely videos of a question, where there are too many to score each one."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch.nn.functional import normalize

from vidret.data.batches import Texts
from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.index.store import FRAMES, POOLED, StoredIndex, open_index
from vidret.data.index.vectors import NOTHING
from vidret.pipelines.indexing.building import differences, require_fitting
from vidret.pipelines.indexing.places import index_folder
from vidret.pipelines.indexing.vectors import question_vector
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.searching.known import index_command
from vidret.pipelines.searching.ranker import Ranker

log = logging.getLogger(__name__)

EXHAUSTIVE_BELOW = 10_000  # videos: so many are simply all scored
SHORTLIST = 200  # videos that the head ranks
MOST = 10_000  # a longer shortlist is no shortlist
FRAMES_EACH = 4  # frames that are looked for per video of a shortlist
WIDER = 15  # times as many are looked at more closely before, where that tells anything,
WIDEST = 10_000  # but no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlister:
    """An index as it was opened, and the videos that it does not know yet.

    Args:
        index: of the ranker's cache and head.
        ranker: what ranks the shortlist.
        unknown: rows that came or changed since; they are always on the list.
        below: so many videos or fewer are all scored.
    """

    index: StoredIndex
    ranker: Ranker
    unknown: NDArray[np.int64]
    below: int

    def __call__(
        self, texts: Texts, question: Question, allowed: NDArray[np.int64]
    ) -> NDArray[np.int64] | None:
        """The rows to score for a question, rising; None where it takes all of them."""
        number = max(SHORTLIST, 2 * question.top)
        if len(allowed) <= max(self.below, number) or number > MOST:
            return None
        return self.likely(texts, question.audio_weight, allowed, number)

    def likely(
        self, texts: Texts, audio_weight: float, allowed: NDArray[np.int64], number: int
    ) -> NDArray[np.int64]:
        """The rows of the nearest vectors, and those that the index does not know."""
        corpus = self.ranker.corpus
        everyone = len(allowed) == len(corpus)
        keys = None if everyone else corpus.keys[allowed]
        vector = question_vector(self.ranker, texts, audio_weight)
        found = [self._nearest(vector, texts, number, keys)]
        if FRAMES in self.index.vectors:
            dim = corpus.cache.fingerprint.dim
            frames = self.index.vectors[FRAMES]
            near = frames.nearest(vector[:, :dim], FRAMES_EACH * number, allowed=keys)[0][0]
            found.append(near[near != NOTHING])
        rows = corpus.rows_of_keys(np.unique(np.concatenate(found)))
        unknown = self.unknown if everyone else np.intersect1d(self.unknown, allowed)
        return np.union1d(rows, unknown)

    def _nearest(
        self,
        vector: Float[np.ndarray, "1 wide"],
        texts: Texts,
        number: int,
        allowed: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Keys of the nearest videos: by their vectors, then by what their frames add to these."""
        index, strays = self.index.vectors[POOLED], self.index.strays
        wide = number if strays is None else max(number, min(WIDER * number, WIDEST))
        (keys,), (products,) = index.nearest(vector, wide, allowed=allowed)
        keys, products = keys[keys != NOTHING], products[keys != NOTHING]
        if strays is None or len(keys) <= number:
            return keys
        order = keys.argsort()  # found sooner one after the other
        keys, products = keys[order], products[order]
        rows = np.searchsorted(self.index.entries.keys, keys)
        sentence = vector[0, : self.ranker.corpus.cache.fingerprint.dim]
        words = texts.words[0][texts.word_mask[0]]
        if not self.ranker.retriever.video_head.weighs_by_words:
            words = words[:0]
        units = normalize(words, dim=-1).float().cpu().numpy()
        guessed = strays[rows].sharpened(products, sentence, units)
        return keys[np.argpartition(-guessed, number)[:number]]


def open_shortlister(work: Path, ranker: Ranker, *, below: int) -> Shortlister | None:
    """Open the index of a head's cache; None where there is none, or no need of one.

    Raises:
        MismatchError: there is one, and it was made for another cache or head.
        DamagedError: it cannot be read.
    """
    if len(ranker.corpus) <= below:
        return None
    cache = ranker.corpus.cache.folder
    try:
        stored = open_index(index_folder(work, ranker))
    except MissingError:
        log.info(
            "No index of %s for %s: all of its %s videos are scored; `%s` makes searches quick",
            cache.name,
            ranker.name,
            f"{len(ranker.corpus):,}",
            index_command("build", cache=cache, work=work, head=ranker.name),
        )
        return None
    require_fitting(stored.header, ranker)
    unknown, _, _ = differences(stored.entries, ranker)
    if len(unknown) > max(below, len(ranker.corpus) // 10):
        log.warning(
            "The index does not know %s videos yet: `%s` makes searches quick",
            f"{len(unknown):,}",
            index_command("update", cache=cache, work=work, head=ranker.name),
        )
    return Shortlister(index=stored, ranker=ranker, unknown=unknown, below=below)


def index_kind(work: Path, ranker: Ranker) -> str:
    """What a status says of the index of a head, whether or not searches need it."""
    try:
        stored = open_index(index_folder(work, ranker))
        require_fitting(stored.header, ranker)
    except MissingError:
        return "none"
    except (MismatchError, DamagedError) as error:
        return f"unusable: {error}"
    kinds = ", ".join(f"{role} {kind}" for role, kind in stored.header.kinds.items())
    return f"{kinds}, {stored.header.videos:,} videos"
