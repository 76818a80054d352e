"""A small split whose features come from encoders of its own, in float64: sums agree to the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidret.data.batches import PackedTexts, Texts, Videos
from vidret.heads.catalog import build_retriever
from vidret.heads.loss import info_nce
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.pipelines.training.splits import Split

DIM, AUDIO_DIM, FRAMES, VIDEOS, CAPTIONS = 6, 5, 3, 7, 14
RAW = 4  # numbers that an encoder makes a feature of


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """What stands for videos and captions, and the networks that encode them."""

    cached: Split
    live_texts: tuple[str, ...]
    live_videos: tuple[str, ...]
    raw_texts: Tensor
    raw_frames: Tensor
    raw_audio: Tensor
    networks: nn.ModuleDict
    encoded: list[int]

    def texts(self, rows: Tensor) -> Texts:
        cached = self.cached.texts[rows]
        self.encoded.append(len(rows))
        if not self.live_texts:
            return cached
        hidden = self.networks["text"](self.raw_texts[rows])
        longest = cached.words.shape[1]
        return Texts(sentence=hidden.mean(1), words=hidden[:, :longest], word_mask=cached.word_mask)

    def videos(self, rows: Tensor) -> Videos:
        cached = self.cached.videos[rows]
        self.encoded.append(len(rows))
        frames, audio = cached.frames, cached.audio
        if "frames" in self.live_videos:
            frames = torch.zeros_like(cached.frames)
            frames[cached.frame_mask] = self.networks["visual"](
                self.raw_frames[rows][cached.frame_mask]
            )
        if "audio" in self.live_videos:
            audio = torch.zeros_like(cached.audio)
            for place, row in enumerate(rows.tolist()):
                if cached.audio_mask[place]:
                    audio[place] = self.networks["audio"](self.raw_audio[row])
        return Videos(
            frames=frames,
            frame_mask=cached.frame_mask,
            audio=audio,
            audio_mask=cached.audio_mask,
        )

    @contextmanager
    def holding(self, rows: Tensor) -> Iterator[None]:
        assert len(rows.unique()) == len(rows)
        yield

    def features(self, rows: Tensor) -> tuple[Texts, Videos]:
        """The plain way: each caption with its video, all in one graph."""
        return self.texts(rows), self.videos(self.cached.owners[rows])


def make_split(live_texts: tuple[str, ...], live_videos: tuple[str, ...]) -> EncodedSplit:
    """Captions of one to five words, two a video; videos of one to three frames, some silent."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.arange(CAPTIONS) % 5 + 1
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    networks = nn.ModuleDict(
        {
            name: nn.Sequential(nn.Linear(RAW, width), nn.Tanh(), nn.Linear(width, width))
            for name, width in (("text", DIM), ("visual", DIM), ("audio", AUDIO_DIM))
        }
    ).double()
    with torch.no_grad():
        for weight in networks.parameters():
            weight.copy_(draw(*weight.shape))
    cached = Split(
        texts=PackedTexts(
            sentence=draw(CAPTIONS, DIM), values=draw(int(offsets[-1]), DIM), offsets=offsets
        ),
        videos=Videos(
            frames=draw(VIDEOS, FRAMES, DIM),
            frame_mask=torch.arange(FRAMES) <= torch.arange(VIDEOS)[:, None] % FRAMES,
            audio=draw(VIDEOS, AUDIO_DIM),
            audio_mask=torch.arange(VIDEOS) % 3 > 0,
        ),
        owners=torch.arange(CAPTIONS) % VIDEOS,
    )
    return EncodedSplit(
        cached=cached,
        live_texts=live_texts,
        live_videos=live_videos,
        raw_texts=draw(CAPTIONS, 5, RAW),
        raw_frames=draw(VIDEOS, FRAMES, RAW),
        raw_audio=draw(VIDEOS, RAW),
        networks=networks,
        encoded=[],
    )


def make_head(name: str = "mgfi+cmfi", *, dropout: float = 0.3) -> Retriever:
    """A head in float64 that drops some of what it computes."""
    head = build_retriever(
        name,
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=5.0,
        options=HeadOptions(dropout=dropout, start="random"),
        seed=0,
    )
    return head.double().train()


def loss_with(head: Retriever, texts: Texts, videos: Videos, owners: Tensor) -> Tensor:
    """The loss of a batch, with the same draws of dropout every time."""
    torch.manual_seed(3)
    return info_nce(head.logits(texts, videos), owners)


def gradients(*modules: nn.Module) -> dict[str, Tensor | None]:
    """What a backward pass left, by the names of the weights; None where it came not."""
    return {
        f"{number}.{name}": weight.grad
        for number, module in enumerate(modules)
        for name, weight in module.named_parameters()
    }
