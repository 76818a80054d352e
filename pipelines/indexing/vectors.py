"""The vector by which a video is looked for before a head has seen the question.

A question is its sentence at unit length, and the products with these vectors come as near to the
head's scores as one vector a video can: exactly for heads that pool whatever the text says, for
MGFI with all frames weighed alike, for the others with CLIP's mean. Where the head hears, a second
half holds the sound as equation 11 embeds it, and the question has its sentence there once more,
times the weight of the sound: so one index serves every weight.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import uniform_weights
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import ACTIVATIONS, MGFI
from vidret.heads.scoring import scoring
from vidret.pipelines.searching.ranker import Ranker


def pooled_vectors(ranker: Ranker, videos: Videos) -> Float[np.ndarray, "video wide"]:
    """One vector for each of some videos."""
    with scoring(ranker.retriever):
        vectors = _looks(ranker, videos)
        sound = ranker.retriever.embed_sound(videos, ranker.stand_in)
        if sound is not None:
            vectors = torch.cat([vectors, sound], dim=1)
        return vectors.float().cpu().numpy()


def frame_vectors(
    ranker: Ranker, rows: NDArray[np.int64]
) -> tuple[Float[np.ndarray, "row dim"], NDArray[np.int64]]:
    """Every frame of some videos at unit length, and the place of its video among the rows."""
    videos = ranker.corpus.videos(rows, ranker.projections)
    frames = normalize(videos.frames[videos.frame_mask], dim=-1)
    return frames.numpy(), videos.frame_mask.nonzero()[:, 0].numpy()


def question_vector(
    ranker: Ranker, texts: Texts, audio_weight: float
) -> Float[np.ndarray, "text wide"]:
    """What is multiplied with the vectors of videos."""
    sentence = normalize(texts.sentence, dim=-1)
    if ranker.retriever.audio_head is not None:
        sentence = torch.cat([sentence, audio_weight * sentence], dim=1)
    return sentence.float().cpu().numpy()


def _looks(ranker: Ranker, videos: Videos) -> Tensor:
    head = ranker.retriever.video_head
    if isinstance(head, MeanPooling):
        return head.prepare_videos(videos)
    if isinstance(head, MGFI):
        return _evenly_weighed(head, videos)
    return MeanPooling().prepare_videos(videos)


def _evenly_weighed(head: MGFI, videos: Videos) -> Tensor:
    """What MGFI makes of a video whose frames all count the same: equations 3, 8 and 9."""
    side = head.prepare_videos(videos)
    weights = uniform_weights(side.frame_mask, videos.frames[:1, 0])[0]
    variance = (torch.einsum("vn,vnm->vm", weights, side.gram) * weights).sum(-1, keepdim=True)
    outputs = []
    for name, part in head.feed_forwards().items():
        deviation = (variance.clamp_min(0) + part.norm.eps).sqrt()
        linear = torch.einsum("vn,vnh->vh", weights, side.hidden[name]) / deviation
        outputs.append(part.second(ACTIVATIONS[head.activation](linear + part.first_bias())))
    pooled = torch.einsum("vn,vnc->vc", weights, side.u) + torch.stack(outputs).mean(0)
    return normalize(pooled, dim=-1)
