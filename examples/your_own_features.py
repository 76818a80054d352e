"""Train MGFI and CMFI on arrays of your own, and rank with it: no cache, no command line.

    python examples/your_own_features.py

The arrays here are made up: every video shows a thing of its own in three of its eight frames, and
every second one sounds like it. Put your own in the place of `made_up`; any sizes will do.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.batches import Texts, Videos, pad_words
from vidret.heads.catalog import build_retriever
from vidret.heads.loss import info_nce
from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks

DIM, AUDIO_DIM, FRAMES, BATCH = 32, 16, 8, 32


def main() -> None:
    """Train on 2,000 videos, then rank 100 others."""
    torch.manual_seed(1)  # so that every run prints the same
    texts, videos = made_up(2000, seed=1)
    retriever = build_retriever(
        "mgfi+cmfi",
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=100.0,
        options=HeadOptions(word_weight_scale="sqrt_c", missing_audio="text-mean"),
    )
    test_texts, test_videos = made_up(100, seed=2)
    print_ranks("before", retriever, test_texts, test_videos)
    train(retriever, texts, videos)
    print_ranks("after", retriever, test_texts, test_videos)
    print_parts(retriever, test_texts, test_videos)


def train(retriever: Retriever, texts: Texts, videos: Videos, *, epochs: int = 10) -> None:
    """Fit both heads at once; row n of the texts belongs to row n of the videos."""
    optimizer = torch.optim.AdamW(retriever.parameters(), lr=1e-3)
    draws = torch.Generator().manual_seed(0)
    retriever.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(texts), generator=draws).split(BATCH):
            loss = info_nce(retriever.logits(texts[rows], videos[rows]), rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            retriever.clamp_temperature()


def print_ranks(when: str, retriever: Retriever, texts: Texts, videos: Videos) -> None:
    """Rank every video for every text, and the other way round."""
    similarity = score_in_blocks(retriever, texts, videos)
    own = torch.arange(len(texts))
    for way, ranks in (
        ("text to video", text_to_video_ranks(similarity, own)),
        ("video to text", video_to_text_ranks(similarity, own)),
    ):
        numbers = summarize(ranks)
        print(f"{when}, {way}: R@1 {numbers['R@1']:.1f}, MdR {numbers['MdR']:.0f}")


def print_parts(retriever: Retriever, texts: Texts, videos: Videos) -> None:
    """What sentence, words and sound add to one score."""
    with torch.inference_mode():
        parts = retriever.eval().parts(texts[:1], videos[:1])
    told = ", ".join(f"{name} {float(part):.3f}" for name, part in parts.items())
    print(f"the first text and its own video: {told}")


def made_up(count: int, *, seed: int) -> tuple[Texts, Videos]:
    """Texts and videos as the heads take them, from plain arrays."""
    draws = np.random.default_rng(seed)
    things = draws.normal(size=(count, DIM))
    frames = draws.normal(size=(count, FRAMES, DIM))
    frames[:, :3] += things[:, None]
    sentence = things + 1.5 * draws.normal(size=things.shape)
    lengths = draws.integers(2, 7, size=count)
    words = np.repeat(things, lengths, axis=0) + 2 * draws.normal(size=(lengths.sum(), DIM))
    sound = things[:, :AUDIO_DIM] + draws.normal(size=(count, AUDIO_DIM))
    padded, word_mask = pad_words(_tensor(words), torch.from_numpy(np.cumsum([0, *lengths])))
    return (
        Texts(sentence=_tensor(sentence), words=padded, word_mask=word_mask),
        Videos(
            frames=_tensor(frames),
            frame_mask=torch.ones(count, FRAMES, dtype=torch.bool),
            audio=_tensor(sound),
            audio_mask=torch.arange(count) % 2 == 0,
        ),
    )


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


if __name__ == "__main__":
    main()
