"""A split whose features are encoded anew, by encoders that learn meanwhile."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidret.data.batches import PackedTexts, Texts, Videos
from vidret.data.errors import DamagedError
from vidret.data.features import SplitFeatures
from vidret.data.storage.projections import Side
from vidret.extract.embedding import Embedder, Take, batch_sizes, computing
from vidret.extract.encoders import Encoders
from vidret.extract.panns import SoundEncoder, cut_windows
from vidret.pipelines.training.augmenting import Views, draw_views, seen
from vidret.pipelines.training.footage import Footage, Shot
from vidret.pipelines.training.processes import add_up, deal
from vidret.pipelines.training.projecting import LastProjections
from vidret.pipelines.training.splits import Split, videos_of_epoch
from vidret.pipelines.training.unfreezing import SOUND, TEXT, VISUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the live features of a split come from.

    Args:
        features: the split in the cache, with its paths and tokens.
        tokens: every caption as the text tower takes it.
        footage: reads the videos.
        encoders: whose weights change; their precision is that of the cache.
        hidden: the cache holds what enters the last projections.
    """

    features: SplitFeatures
    tokens: Tensor
    footage: Footage
    encoders: Encoders
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSplit:
    """A split of which some parts come from their encoder, and the others from the cache.

    Args:
        cached: all parts, as a cache holds them.
        source: of the live parts; None where there are none.
        live: which encoders are asked anew: `VISUAL`, `TEXT`, `SOUND`.
        augment: how pictures differ from epoch to epoch, if they are live.
        views: how they do in this one; None is as evaluation sees them.
    """

    cached: Split
    source: Source | None
    live: frozenset[str]
    augment: tuple[str, ...] = ()
    views: Views | None = None

    @property
    def live_texts(self) -> tuple[str, ...]:
        """The features of captions that are encoded anew, by the names in `Texts`."""
        return ("sentence", "words") if TEXT in self.live else ()

    @property
    def live_videos(self) -> tuple[str, ...]:
        """The features of videos that are encoded anew, by the names in `Videos`."""
        return tuple(
            name for name, part in (("frames", VISUAL), ("audio", SOUND)) if part in self.live
        )

    def begin_epoch(self, generator: torch.Generator) -> "LiveSplit":
        """The same split as one epoch sees it: other crops, or other frames of those cached."""
        if self.source is not None and VISUAL in self.live:
            if not self.augment:
                return self
            side, videos = self.source.footage.clip.pixels.size, len(self.cached.videos)
            return replace(self, views=draw_views(self.augment, videos, side, generator))
        if self.cached.dense is None:
            return self
        everyone = torch.arange(len(self.cached.videos), device=self.cached.owners.device)
        drawn = videos_of_epoch(self.cached, self.cached.dense.draw(generator), everyone)
        return replace(self, cached=replace(self.cached, videos=drawn))

    def holding(self, rows: Tensor) -> AbstractContextManager[None]:
        """Read some videos once, however often they are encoded in the block."""
        if self.source is None or not self.live_videos:
            return nullcontext()
        return self.source.footage.holding(self.source.features, rows.tolist())

    def batch(self, rows: Tensor) -> tuple[Texts, Videos]:
        """Some captions and the video of each; a video that is there twice is encoded once."""
        shown, places = self.cached.owners[rows].unique(return_inverse=True)
        return self.texts(rows), self.videos(shown)[places]

    def texts(self, rows: Tensor) -> Texts:
        """Some captions."""
        cached = self.cached.texts[rows]
        if self.source is None or TEXT not in self.live:
            return cached
        sentence, words = _encode_texts(self.source, rows, cached.words.shape[1], hidden=False)
        return Texts(sentence=sentence, words=words, word_mask=cached.word_mask)

    def videos(self, rows: Tensor) -> Videos:
        """Some videos."""
        videos = self.cached.videos[rows]
        if self.source is None or not self.live_videos:
            return videos
        shots = self.source.footage.fetch(self.source.features, rows.tolist())
        encoders = self.source.encoders
        if VISUAL in self.live:
            pictures = _as_seen(shots, rows, self.views, videos.frames.device)
            frames = torch.zeros_like(videos.frames)
            frames[videos.frame_mask] = encoders.clip.encode_frames(pictures).float()
            videos = replace(videos, frames=frames)
        if SOUND in self.live and encoders.sound is not None:
            videos = replace(videos, audio=_encode_sounds(encoders.sound, shots, videos))
        return videos

    def astray(self, rows: Tensor) -> list[int]:
        """Those of some captions whose own features, or those of their video, are not finite."""
        with torch.no_grad():
            texts, videos = self.batch(rows)
        heard = videos.audio.where(videos.audio_mask[:, None], 0)
        own = texts.words.where(texts.word_mask[..., None], 0).flatten(1)
        seen = videos.frames.where(videos.frame_mask[..., None], 0).flatten(1)
        every = torch.cat([texts.sentence, own, seen, heard], 1)
        return rows[~every.isfinite().all(1)].tolist()

    def encode(self) -> Split:
        """The whole split as `vidret extract` would store it with the weights as they are."""
        if self.source is None or not self.live:
            return self.cached
        with torch.no_grad():
            split = self.cached
            if TEXT in self.live:
                split = replace(split, texts=_texts_as_stored(self.source, split))
            if self.live_videos:
                split = replace(split, videos=_videos_as_stored(self.source, split, self.live))
            return split


def _as_seen(shots: list[Shot], rows: Tensor, views: Views | None, device: torch.device) -> Tensor:
    """The pictures of some videos, one behind the other, as an epoch sees them."""
    pictures = [shot.pictures.to(device) for shot in shots]
    if views is not None:
        numbers = rows.tolist()
        pictures = [seen(own, views, video) for own, video in zip(pictures, numbers, strict=True)]
    return torch.cat(pictures)


def _encode_texts(
    source: Source, rows: Tensor, longest: int, *, hidden: bool
) -> tuple[Tensor, Tensor]:
    """Sentences, and the words of each up to the longest."""
    clip = source.encoders.clip
    tokens = source.tokens[rows.to(source.tokens.device)].to(rows.device)
    sentence, words = clip.encode_tokens(tokens, hidden=hidden)
    return sentence.float(), words[:, clip.first_word : clip.first_word + longest].float()


def _encode_sounds(sound: SoundEncoder, shots: list[Shot], videos: Videos) -> Tensor:
    """The sound of some videos; windows of equal length go through the network together."""
    device = videos.audio.device
    windows: dict[int, list[tuple[int, Tensor]]] = {}
    for row, shot in enumerate(shots):
        if videos.audio_mask[row] and shot.waveform is not None:
            for window in cut_windows(shot.waveform):
                windows.setdefault(len(window), []).append((row, window))
    audio, counts = torch.zeros_like(videos.audio), torch.zeros(len(shots), 1, device=device)
    for equal in windows.values():
        for some in _portions(equal, batch_sizes(device).windows):
            owners = torch.tensor([row for row, _ in some], device=device)
            heard = sound.encode_windows(torch.stack([one for _, one in some]).to(device))
            audio = audio.index_add(0, owners, heard.float())
            counts = counts.index_add(0, owners, torch.ones(len(some), 1, device=device))
    return audio / counts.clamp(min=1)


def _texts_as_stored(source: Source, split: Split) -> PackedTexts:
    texts, encoders = split.texts, source.encoders
    assert isinstance(texts, PackedTexts)
    sentence, words = torch.zeros_like(texts.sentence), torch.zeros_like(texts.values)
    for rows in deal(_blocks(len(texts), batch_sizes(sentence.device).texts, sentence)):
        mask = texts[rows].word_mask
        with computing(encoders.device, encoders.precision):
            some, its_words = _encode_texts(source, rows, mask.shape[1], hidden=source.hidden)
        first, last = texts.offsets[rows[0]], texts.offsets[rows[-1] + 1]
        sentence[rows] = _as_stored(source, some, "text", "some captions")
        words[first:last] = _as_stored(source, its_words[mask], "text", "some captions")
    add_up(sentence, words)
    return replace(texts, sentence=sentence, values=words)


def _videos_as_stored(source: Source, split: Split, live: frozenset[str]) -> Videos:
    """All videos, through the batches of `vidret extract`, in as many processes as there are."""
    videos, embedder = split.videos, Embedder(source.encoders, hidden=source.hidden)
    takes = [Take() for _ in range(len(videos))]
    frames = torch.zeros_like(videos.frames) if VISUAL in live else videos.frames.clone()
    audio = torch.zeros_like(videos.audio) if SOUND in live else videos.audio.clone()
    per_block = max(1, embedder.sizes.pictures // videos.frames.shape[1])
    for rows in deal(_blocks(len(videos), per_block, videos.frames)):
        numbers = rows.tolist()
        shots = source.footage.fetch(source.features, numbers)
        for number, shot in zip(numbers, shots, strict=True):
            if VISUAL in live:
                embedder.add_pictures(takes[number], shot.pictures)
            if SOUND in live and videos.audio_mask[number] and shot.waveform is not None:
                embedder.add_sound(takes[number], shot.waveform.numpy())
                embedder.end_sound(takes[number])
    embedder.flush()
    for row, take in enumerate(takes):
        name = f"video {source.features.video_ids[row]}"
        if take.pictures:
            shown = videos.frame_mask[row]
            frames[row, shown] = _as_stored(source, torch.cat(take.pictures), "visual", name)
        if take.windows:
            audio[row] = _as_stored(source, torch.stack(take.windows).mean(0), None, name)
    add_up(*([frames] if VISUAL in live else []), *([audio] if SOUND in live else []))
    return replace(videos, frames=frames, audio=audio)


def _as_stored(source: Source, values: Tensor, side: Side | None, name: str) -> Tensor:
    """As a cache gives it back, which holds float16, and may hold it before the last projection.

    Args:
        source: of the values.
        values: as an encoder gave them.
        side: whose projection belongs to them; None for a sound.
        name: what they are features of.

    Raises:
        DamagedError: float16 cannot hold them.
    """
    stored = values.half().float()
    if not stored.isfinite().all():
        raise DamagedError(
            f"the encoders now give {name} features up to {values.abs().max().item():.3g}, which "
            "float16 cannot hold: lower --lr-clip or --lr-audio, and begin anew with another --name"
        )
    if side is None or not source.hidden:
        return stored
    tensors = source.encoders.clip.projections()
    projections = LastProjections({name: one.numpy() for name, one in tensors.items()})
    return projections.to(stored.device).project(stored, side)


def _portions(values: list[tuple[int, Tensor]], size: int) -> Iterator[list[tuple[int, Tensor]]]:
    yield from (values[start : start + size] for start in range(0, len(values), size))


def _blocks(count: int, size: int, like: Tensor) -> Iterator[Tensor]:
    yield from torch.arange(count, device=like.device).split(size) if count else ()
