"""The heads together: similarity of texts and videos, and the temperature of the loss."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos
from vidret.data.errors import ConfigError
from vidret.heads.cmfi import CMFI

MAX_LOGIT_SCALE = 100.0

TextSideT = TypeVar("TextSideT")
VideoSideT = TypeVar("VideoSideT")


@runtime_checkable
class VideoHead(Protocol[TextSideT, VideoSideT]):
    """What a head for frames offers; only the head itself looks inside what it prepared."""

    @property
    def weighs_by_text(self) -> bool:
        """Whether another text gives the frames other weights."""

    @property
    def weighs_by_words(self) -> bool:
        """Whether the same sentence in other words does."""

    def prepare_texts(self, texts: Texts) -> TextSideT:
        """Do what depends on the texts alone."""

    def prepare_videos(self, videos: Videos) -> VideoSideT:
        """Do what depends on the videos alone."""

    def score(self, texts: TextSideT, videos: VideoSideT) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""

    def score_parts(
        self, texts: TextSideT, videos: VideoSideT
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the named parts whose sum is the similarity, dropout aside."""

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text."""

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video."""

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes while it is prepared and after."""

    def eval(self) -> object:
        """Drop nothing from here on; every `nn.Module` has this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTexts:
    """Texts as the video head and equation 11 want them."""

    for_frames: Any
    sentence: Float[Tensor, "text dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyVideos:
    """Videos as the video head and equation 11 want them."""

    for_frames: Any
    audio: Float[Tensor, "video dim"] | None


class Retriever(nn.Module):
    """A head for frames, perhaps one for sound, and the temperature of the loss.

    Args:
        video_head: gives s(v, t), such as `MGFI` or `MeanPooling`.
        audio_head: gives s(a, t), which is added.
        logit_scale: exp(tau) to start from, CLIP's own; what lies above 100 starts at 100.

    `audio_weight` is what s(a, t) counts in a score: 1 as the paper adds it, and always 1 while
    the head trains. Another may be chosen afterwards, on validation.
    """

    audio_weight: Tensor

    def __init__(
        self, video_head: VideoHead[Any, Any], audio_head: CMFI | None, *, logit_scale: float
    ) -> None:
        super().__init__()
        if not logit_scale > 0:
            raise ConfigError(f"logit_scale is {logit_scale}: it must be above 0, as CLIP's 100 is")
        self.video_head = video_head
        self.audio_head = audio_head
        self.tau = nn.Parameter(torch.tensor(math.log(min(logit_scale, MAX_LOGIT_SCALE))))
        self.register_buffer("audio_weight", torch.tensor(1.0))
        self.only_sound_learns = False

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return s(v, t) + s(a, t), or once trained + `audio_weight` s(a, t)."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def logits(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the exponents of equations 12 and 13.

        The paper prints no temperature; without one a sum of cosines is too flat to learn from.
        """
        return self.tau.exp() * self(texts, videos)

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return the video head's parts and `audio`; their sum is the similarity."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text."""
        return self.video_head.frame_weights(texts, videos)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep exp(tau) at most 100, as CLIP's training did; call it after each optimizer step."""
        self.tau.clamp_(max=math.log(MAX_LOGIT_SCALE))

    def freeze_video_head(self) -> None:
        """Begin the paper's second stage: the sound learns, all else keeps still, dropout included.

        Raises:
            ConfigError: there is no head for sound.
        """
        if self.audio_head is None:
            raise ConfigError("only heads with +cmfi have a second stage: this one hears no sound")
        self.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
        self.audio_head.requires_grad_()
        self.only_sound_learns = True
        self.video_head.eval()

    def train(self, mode: bool = True) -> "Retriever":  # noqa: FBT001, FBT002 (torch's own signature)
        """As every module's; only a frozen video head stays in eval mode."""
        super().train(mode)
        if self.only_sound_learns:
            self.video_head.eval()
        return self

    def prepare_texts(self, texts: Texts) -> ReadyTexts:
        """Do what depends on the texts alone."""
        return ReadyTexts(
            for_frames=self.video_head.prepare_texts(texts),
            sentence=nn.functional.normalize(texts.sentence, dim=-1),
        )

    def prepare_videos(
        self, videos: Videos, stand_in: Float[Tensor, " dim"] | None = None
    ) -> ReadyVideos:
        """Do what depends on the videos alone.

        Args:
            videos: some of those that compete.
            stand_in: for those without sound, where these are not all; see `CMFI.stand_in`.
        """
        return ReadyVideos(
            for_frames=self.video_head.prepare_videos(videos),
            audio=self.embed_sound(videos, stand_in),
        )

    def score(self, texts: ReadyTexts, videos: ReadyVideos) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        similarity = self.video_head.score(texts.for_frames, videos.for_frames)
        return similarity if videos.audio is None else similarity + texts.sentence @ videos.audio.T

    def score_parts(
        self, texts: ReadyTexts, videos: ReadyVideos
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the parts of the similarity of prepared texts and videos."""
        parts = self.video_head.score_parts(texts.for_frames, videos.for_frames)
        return parts if videos.audio is None else parts | {"audio": texts.sentence @ videos.audio.T}

    def embed_sound(
        self, videos: Videos, stand_in: Float[Tensor, " dim"] | None
    ) -> Float[Tensor, "video dim"] | None:
        """What equation 11 makes of the sounds, as much as it counts; None where none is heard."""
        if self.audio_head is None:
            return None
        embedded = self.audio_head.embed(videos, stand_in)
        return embedded if self.training else embedded * self.audio_weight
