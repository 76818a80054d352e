"""A split whose features are encoded anew, by encoders that learn meanwhile."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vidret.data.batches import PackedTexts, Texts, Videos
from vidret.data.errors import DamagedError
from vidret.data.features import SplitFeatures
from vidret.extract.clip import ClipEncoder
from vidret.extract.embedding import batch_sizes
from vidret.extract.encoders import Encoders
from vidret.extract.panns import SHORTEST, SoundEncoder
from vidret.pipelines.training.footage import Footage, Shot
from vidret.pipelines.training.splits import Split

VISUAL, TEXT, SOUND = "visual", "text", "audio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the live features of a split come from.

    Args:
        features: the split in the cache, with its paths and tokens.
        tokens: every caption as the text tower takes it.
        footage: reads the videos.
        encoders: whose weights change.
    """

    features: SplitFeatures
    tokens: Tensor
    footage: Footage
    encoders: Encoders


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSplit:
    """A split of which some parts come from their encoder, and the others from the cache.

    Args:
        cached: all parts, as a cache holds them.
        source: of the live parts; None where there are none.
        live: which encoders are asked anew: `VISUAL`, `TEXT`, `SOUND`.
    """

    cached: Split
    source: Source | None
    live: frozenset[str]

    def batch(self, rows: Tensor) -> tuple[Texts, Videos]:
        """Some captions and the video of each; a video that is there twice is encoded once."""
        shown, places = self.cached.owners[rows].unique(return_inverse=True)
        return self.texts(rows), self.videos(shown)[places]

    def texts(self, rows: Tensor) -> Texts:
        """Some captions."""
        cached = self.cached.texts[rows]
        if self.source is None or TEXT not in self.live:
            return cached
        tokens = self.source.tokens[rows.to(self.source.tokens.device)]
        sentence, hidden = self.source.encoders.clip.encode_tokens(tokens.to(rows.device))
        first = self.source.encoders.clip.first_word
        words = hidden[:, first : first + cached.words.shape[1]]
        return Texts(sentence=sentence.float(), words=words.float(), word_mask=cached.word_mask)

    def videos(self, rows: Tensor) -> Videos:
        """Some videos."""
        videos = self.cached.videos[rows]
        if self.source is None or not self.live & {VISUAL, SOUND}:
            return videos
        shots = self.source.footage.fetch(self.source.features, rows.tolist())
        encoders = self.source.encoders
        if VISUAL in self.live:
            videos = replace(videos, frames=_encode_frames(encoders.clip, shots, videos))
        if SOUND in self.live and encoders.sound is not None:
            videos = replace(videos, audio=_encode_sounds(encoders.sound, shots, videos))
        return videos

    def encode(self) -> Split:
        """The whole split as `vidret extract` would store it with the weights as they are."""
        if not self.live:
            return self.cached
        texts, videos = self.cached.texts, self.cached.videos
        assert isinstance(texts, PackedTexts)
        sentence, words = texts.sentence.clone(), texts.values.clone()
        frames, audio = videos.frames.clone(), videos.audio.clone()
        sizes = batch_sizes(frames.device)
        videos_per_batch = max(1, sizes.pictures // frames.shape[1])
        with torch.no_grad():  # not inference_mode: a stage may train on what comes out
            for rows in _blocks(len(texts) if TEXT in self.live else 0, sizes.texts, frames):
                some = self.texts(rows)
                sentence[rows] = _as_stored(some.sentence)
                first, last = texts.offsets[rows[0]], texts.offsets[rows[-1] + 1]
                words[first:last] = _as_stored(some.words[some.word_mask])
            for rows in _blocks(len(videos), videos_per_batch, frames):
                both = self.videos(rows)
                frames[rows], audio[rows] = _as_stored(both.frames), _as_stored(both.audio)
        return replace(
            self.cached,
            texts=replace(texts, sentence=sentence, values=words),
            videos=replace(videos, frames=frames, audio=audio),
        )


def unfreeze(encoders: Encoders, weights: Iterable[nn.Parameter]) -> None:
    """Let gradients reach some weights of the encoders, and nothing else in them."""
    for module in (encoders.clip, encoders.sound):
        if module is not None:
            module.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
    for weight in weights:
        weight.requires_grad_()


def weights_of(encoders: Encoders, part: str) -> list[nn.Parameter]:
    """What can learn in an encoder: the weights that its output depends on, as loaded.

    CLIP's own temperature and the tags of the sound network reach no output, and what an author
    froze (Cnn14's filters) stays frozen.
    """
    clip, sound = encoders.clip, encoders.sound
    module: nn.Module = clip
    if part == VISUAL:
        side = clip.pixels.size
        output = clip.encode_frames(torch.zeros(1, 3, side, side, device=encoders.device)).sum()
    elif part == TEXT:
        sentence, words = clip.encode_tokens(clip.mark_tokens([[]]).to(encoders.device))
        output = sentence.sum() + words.sum()
    elif sound is not None:
        module, output = sound, sound.encode(torch.zeros(SHORTEST, device=encoders.device)).sum()
    else:
        return []
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(output, weights, allow_unused=True)
    return [weight for weight, got in zip(weights, gradients, strict=True) if got is not None]


def _encode_frames(clip: ClipEncoder, shots: list[Shot], videos: Videos) -> Tensor:
    pictures = torch.cat([shot.pictures for shot in shots]).to(videos.frames.device)
    frames = torch.zeros_like(videos.frames)
    frames[videos.frame_mask] = clip.encode_frames(pictures).float()
    return frames


def _encode_sounds(sound: SoundEncoder, shots: list[Shot], videos: Videos) -> Tensor:
    audio = torch.zeros_like(videos.audio)
    for row, shot in enumerate(shots):
        if videos.audio_mask[row] and shot.waveform is not None:
            audio[row] = sound.encode(shot.waveform.to(audio.device)).float()
    return audio


def _as_stored(values: Tensor) -> Tensor:
    """As a cache gives it back, which holds float16.

    Raises:
        DamagedError: it cannot hold them.
    """
    stored = values.half().float()
    if not stored.isfinite().all():
        raise DamagedError(
            f"the encoders now give features up to {values.abs().max().item():.3g}, which float16 "
            "cannot hold: lower --lr-clip or --lr-audio, and begin anew with another --name"
        )
    return stored


def _blocks(count: int, size: int, like: Tensor) -> Iterator[Tensor]:
    yield from torch.arange(count, device=like.device).split(size) if count else ()
