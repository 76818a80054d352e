"""One head, made ready to rank the videos of a corpus."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Event, Lock

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.batches import Texts, Videos, pad_words
from vidret.data.storage.projections import Projections, project
from vidret.extract.clip import EncodedText
from vidret.heads.catalog import build_retriever
from vidret.heads.direct import DirectMGFI
from vidret.heads.mgfi import MGFI
from vidret.heads.retriever import ReadyVideos, Retriever
from vidret.heads.scoring import scoring
from vidret.pipelines.evaluate import require_same_features
from vidret.pipelines.searching.corpus import Corpus
from vidret.pipelines.searching.explaining import sentence_frame_likeness
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import Run, load_weights, read_run

ZERO_SHOT = "mean"
AUDIO = "audio"
MEMORY = 64 * 2**20  # bytes that scoring takes beside what is kept
KEPT = 1 << 30  # bytes of prepared videos that are kept between two questions
SHOWN_AT_ONCE = 256  # videos whose moments are found together
AT_ONCE = 4096  # videos that are listened to together while a stand-in is made


@dataclass(frozen=True)
class Ranker:
    """A head with what it needs to rank a corpus; safe to ask from several threads.

    Args:
        name: of the run, or `mean`.
        head: of the catalog.
        digest: of its weights and of what it is scored with.
        retriever: on `device`, in eval mode.
        run: where it comes from; None for the untrained mean.
        projections: that it trained for itself.
        corpus: what it ranks.
        device: where it computes.
        stand_in: of videos without sound.
        heard: the sum that it is the mean of, and of how many; None where the head has learned it.
    """

    name: str
    head: str
    digest: str
    retriever: Retriever
    run: tuple[Path, Run] | None
    projections: Projections | None
    corpus: Corpus
    device: torch.device
    stand_in: Tensor | None
    heard: tuple[Tensor, int] | None = None
    _lock: Lock = field(default_factory=Lock)
    _asked: Event = field(default_factory=Event)
    _prepared: list[ReadyVideos] = field(default_factory=list)

    def with_stand_in(self, stand_in: Tensor) -> "Ranker":
        """The same head where more videos compete than those of the corpus."""
        return replace(
            self, stand_in=stand_in.to(self.device), _lock=Lock(), _asked=Event(), _prepared=[]
        )  # what was prepared holds the old one

    @property
    def hidden(self) -> bool:
        """Whether it projects the words of a question by itself."""
        return self.projections is not None

    def videos(self, rows: NDArray[np.int64]) -> Videos:
        """Some videos as the head takes them."""
        return self.corpus.videos(rows, self.projections).to(self.device)

    def texts(self, encoded: EncodedText) -> Texts:
        """A question as the head takes it; a hidden one is projected as captions are."""
        values, sentence = torch.from_numpy(encoded.words), torch.from_numpy(encoded.sentence)[None]
        if self.projections is not None:
            values = project(values, self.projections, "text")
            sentence = project(sentence, self.projections, "text")
        words, mask = pad_words(values, torch.tensor([0, len(values)]))
        return Texts(sentence=sentence, words=words, word_mask=mask).to(self.device)

    def parts(self, texts: Texts, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """What each part of the head adds to the score of one text with each of some videos.

        Args:
            texts: one text.
            rows: rising; all of the corpus are prepared once, as far as there is room, and kept.
        """
        found: dict[str, list[NDArray[np.float64]]] = {}
        with scoring(self.retriever):
            for parts in self._scored(texts, rows):
                for name, part in parts.items():
                    found.setdefault(name, []).append(part[0].double().cpu().numpy())
        return {name: np.concatenate(values) for name, values in found.items()}

    def frame_weights(
        self, texts: Texts, rows: NDArray[np.int64]
    ) -> Float[np.ndarray, "video frame"]:
        """What each frame of some videos counts for one text.

        A head that weighs frames whatever the text says does not know where in a video the answer
        is; the likeness of frame and sentence tells it instead.
        """
        found = [np.zeros((0, self.corpus.features.frames.shape[1]))]
        with scoring(self.retriever):
            for start in range(0, len(rows), SHOWN_AT_ONCE):
                some = rows[start : start + SHOWN_AT_ONCE]
                videos = self.videos(some)
                if self.retriever.video_head.weighs_by_text:
                    weights = self.retriever.frame_weights(texts, videos)[0]
                else:
                    sharpness = self.corpus.cache.fingerprint.logit_scale
                    weights = sentence_frame_likeness(texts, videos, sharpness)[0]
                found.append(weights.double().cpu().numpy())
        return np.concatenate(found)

    def _scored(self, texts: Texts, rows: NDArray[np.int64]) -> Iterator[dict[str, Tensor]]:
        """Parts block by block, by the way that costs least."""
        ready = self.retriever.prepare_texts(texts)
        everyone = len(rows) == len(self.corpus) and self._has_room(texts)
        if everyone and (self._asked.is_set() or not isinstance(self.retriever.video_head, MGFI)):
            for kept in self._kept(texts, rows):
                yield self.retriever.score_parts(ready, kept)
            return
        if everyone:
            self._asked.set()  # who asks of all videos twice will do so again
        for videos in self._videos(texts, rows):
            if self._direct is not None:
                parts = self._direct.parts(texts, videos)
                sound = self.retriever.embed_sound(videos, self.stand_in)
                yield parts if sound is None else parts | {AUDIO: ready.sentence @ sound.T}
            else:
                yield self.retriever.score_parts(ready, self._prepare(videos))

    @cached_property
    def _direct(self) -> DirectMGFI | None:
        """A quicker way for one question, where there is one."""
        head = self.retriever.video_head
        return DirectMGFI(head) if isinstance(head, MGFI) else None

    def _has_room(self, texts: Texts) -> bool:
        """Whether all videos may be kept prepared."""
        return self._bytes_each(texts) * len(self.corpus) <= KEPT

    def _bytes_each(self, texts: Texts) -> int:
        """What a video takes while it is prepared."""
        features, head = self.corpus.features, self.retriever.video_head
        return 4 * head.floats_per_video(features.frames.shape[1], texts.sentence.shape[1])

    def _kept(self, texts: Texts, rows: NDArray[np.int64]) -> list[ReadyVideos]:
        """Every video, prepared once."""
        with self._lock:
            if not self._prepared:
                self._prepared.extend([self._prepare(some) for some in self._videos(texts, rows)])
        return self._prepared

    def _prepare(self, videos: Videos) -> ReadyVideos:
        return self.retriever.prepare_videos(videos, self.stand_in)

    def _videos(self, texts: Texts, rows: NDArray[np.int64]) -> Iterator[Videos]:
        """Videos block by block, as many at a time as scoring has memory for."""
        step = max(1, MEMORY // self._bytes_each(texts))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            yield self.videos(some)


def make_ranker(name: str, run_folder: Path | None, corpus: Corpus, device: torch.device) -> Ranker:
    """Load the head of a run, or take CLIP's own mean of the frames.

    Raises:
        MismatchError: the head was trained on other features than the corpus has.
        MissingError: the run has not finished.
        DamagedError: the run cannot be read.
    """
    facts = corpus.cache.fingerprint
    if run_folder is None:
        retriever = build_retriever(
            ZERO_SHOT, dim=facts.dim, audio_dim=facts.audio_dim, logit_scale=facts.logit_scale
        )
        run, head, projections = None, ZERO_SHOT, None
    else:
        its = read_run(run_folder)
        require_same_features(facts, its.fingerprint, str(corpus.cache.folder))
        retriever, run = load_weights(run_folder, its), (run_folder, its)
        trained = features_of_run(run_folder, its, corpus.features).projections
        projections = trained if its.settings["train_projection"] else None
        head = its.head
    retriever = retriever.to(device).eval()
    stand_in, heard = _stand_in(retriever, corpus, device)
    return Ranker(
        name=name,
        head=head,
        digest=digest_of(head, retriever, projections),
        retriever=retriever,
        run=run,
        projections=projections,
        corpus=corpus,
        device=device,
        stand_in=stand_in,
        heard=heard,
    )


def digest_of(head: str, retriever: Retriever, projections: Projections | None) -> str:
    """A short name of a head and all its weights: another one ranks in another way."""
    told = hashlib.sha256(head.encode())
    for name, tensor in sorted(retriever.state_dict().items()):
        told.update(name.encode() + np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    for name, matrix in sorted((projections or {}).items()):
        told.update(name.encode() + np.ascontiguousarray(matrix).tobytes())
    return told.hexdigest()[:12]


def _stand_in(
    retriever: Retriever, corpus: Corpus, device: torch.device
) -> tuple[Tensor | None, tuple[Tensor, int] | None]:
    """What videos without sound get where all of the corpus compete; see `CMFI.stand_in`."""
    head = retriever.audio_head
    if head is None or not len(corpus):
        return None, None
    with scoring(retriever):
        if head.null is not None:
            return head.stand_in(corpus.sounds(slice(0, 1)).to(device)), None
        total, heard = torch.zeros(head.linear.out_features, device=device), 0
        for start in range(0, len(corpus), AT_ONCE):
            videos = corpus.sounds(slice(start, start + AT_ONCE)).to(device)
            own = int(videos.audio_mask.sum())
            total, heard = total + head.stand_in(videos) * own, heard + own
        return total / max(1, heard), (total, heard)
