"""What storing features as float16 does to similarities and to ranks.

python benchmarks/float16.py
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from report import BUILD, show, show_machine, table
from torch import Tensor
from torch.nn.functional import normalize

from vidret.data.cache import FeatureCache
from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import Fingerprint
from vidret.data.samples import AudioState, Caption, Video
from vidret.extract.decode import decode_video
from vidret.extract.embedding import computing
from vidret.extract.encoders import Encoders, load_encoders
from vidret.extract.task import encode_captions
from vidret.heads.catalog import build_retriever
from vidret.heads.metrics import text_to_video_ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extract import run_extract
from vidret.pipelines.extraction.describe import encoder_spec, open_dataset
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.runs import load_weights

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The same similarities from float32 and from float16, and each text's own video."""

    name: str
    exact: Tensor
    stored: Tensor
    owners: np.ndarray


def main() -> None:
    """Random vectors, clustered ones, and the bundled set through two heads."""
    options = _parse()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    cases = [
        *_vector_cases(options.vectors, options.dim),
        *_synth_cases(options.work, options.clips),
    ]
    _show(cases)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=3000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--clips", type=int, default=540, help="of the bundled set")
    parser.add_argument("--work", type=Path, default=BUILD / "float16")
    return parser.parse_args()


# Vectors


def _vector_cases(count: int, dim: int) -> list[Case]:
    draws = torch.Generator().manual_seed(0)

    def directions(number: int) -> Tensor:
        return normalize(torch.randn(number, dim, generator=draws), dim=-1)

    size = f"{count} x {count} x {dim}"
    texts, videos = directions(count), directions(count)
    centres = directions(count // 30).repeat_interleave(30, dim=0)[:count]
    # Videos of a cluster look alike, and each text is nearest to its own, as often as not.
    near = normalize(centres + 0.3 * directions(len(centres)), dim=-1)
    about = normalize(near + 3 * directions(len(near)), dim=-1)
    return [
        _from_vectors(f"random directions, {size}", texts, videos),
        _from_vectors(f"clusters of 30 videos that look alike, {size}", about, near),
    ]


def _from_vectors(name: str, texts: Tensor, videos: Tensor) -> Case:
    return Case(
        name=name,
        exact=_cosines(texts, videos),
        stored=_cosines(_through_float16(texts), _through_float16(videos)),
        owners=np.arange(len(texts)),
    )


def _cosines(texts: Tensor, videos: Tensor) -> Tensor:
    return normalize(texts, dim=-1) @ normalize(videos, dim=-1).T


def _through_float16(values: Tensor) -> Tensor:
    return values.half().float()


# The bundled set


def _synth_cases(work: Path, clips: int) -> list[Case]:
    config = ExtractConfig(work=work, offline=True, clips=clips)
    cache = FeatureCache.open(run_extract(config, on_progress=_say_nothing).folder)
    stored = cache.load("test")
    exact = _in_float32(stored, load_encoders(encoder_spec(config)), config)
    off = _units_off(exact, stored)
    if off > 1:  # batches of other sizes may round the last bit of a float32 in another way
        raise SystemExit(f"the cache is {off} steps of float16 from what was encoded again")
    trained = TrainConfig(work=work, offline=True, cache=cache.folder, head="mgfi+cmfi")
    report = run_train(trained, on_progress=_say_nothing)
    heads = {
        "mean": _mean_head(cache.fingerprint),
        "mgfi+cmfi, trained": load_weights(report.folder, report.run),
    }
    return [
        Case(
            name=f"bundled set, {len(stored.caption_ids)} captions, "
            f"{len(stored.video_ids)} videos, head {name}",
            exact=_scores(head, exact),
            stored=_scores(head, stored),
            owners=stored.owners,
        )
        for name, head in heads.items()
    ]


def _in_float32(stored: SplitFeatures, encoders: Encoders, config: ExtractConfig) -> SplitFeatures:
    """The same split, encoded again and never made smaller."""
    dataset, _ = open_dataset(config)
    videos = {video.id: video for video in dataset.videos}
    captions = {caption.id: caption for caption in dataset.captions}
    frames = np.zeros(stored.frames.shape, np.float32)
    audio = np.zeros(stored.audio.shape, np.float32)
    for row, id_ in enumerate(stored.video_ids):
        seen, heard = _encode_video(videos[id_], encoders, config.frames)
        frames[row, : len(seen)] = seen
        if heard is not None:
            audio[row] = heard
    sentences, words = _encode_texts([captions[id_] for id_ in stored.caption_ids], encoders)
    return replace(stored, frames=frames, audio=audio, sentence=sentences, words=words)


def _encode_video(
    video: Video, encoders: Encoders, frames: int
) -> tuple[np.ndarray, np.ndarray | None]:
    decoded = decode_video(video.path, frames=frames)
    crops = torch.stack([encoders.clip.prepare(frame) for frame in decoded.frames])
    with computing(encoders.device, encoders.precision):
        seen = encoders.clip.encode_frames(crops).numpy()
        if encoders.sound is None or decoded.audio_state is not AudioState.OK:
            return seen, None
        assert decoded.waveform is not None
        return seen, encoders.sound.encode(torch.from_numpy(decoded.waveform)).numpy()


def _encode_texts(captions: Sequence[Caption], encoders: Encoders) -> tuple[np.ndarray, np.ndarray]:
    with computing(encoders.device, encoders.precision):
        encoded = encode_captions(captions, encoders)
    return (
        np.stack([text.sentence for text in encoded]),
        np.concatenate([text.words for text in encoded]),
    )


def _units_off(exact: SplitFeatures, stored: SplitFeatures) -> int:
    """How many steps of float16 the cache is away from what was encoded again, at most."""
    most = 0
    for name in ("frames", "audio", "sentence", "words"):
        mine = np.asarray(getattr(exact, name)[:]).astype(np.float16)
        theirs = np.asarray(getattr(stored, name)[:])
        steps = np.abs(_ordered(mine) - _ordered(theirs))
        large = np.abs(theirs) > np.finfo(np.float16).tiny  # smaller ones are noise around zero
        most = max(most, int(steps[large].max(initial=0)))
    return most


def _ordered(values: np.ndarray) -> np.ndarray:
    """The place of each float16 among all of them."""
    bits = values.view(np.int16).astype(np.int32)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


def _mean_head(fingerprint: Fingerprint) -> Retriever:
    return build_retriever(
        "mean",
        dim=fingerprint.dim,
        audio_dim=fingerprint.audio_dim,
        logit_scale=fingerprint.logit_scale,
    )


def _scores(head: Retriever, features: SplitFeatures) -> Tensor:
    split = as_split(features, CPU)
    return score_in_blocks(head, split.texts, split.videos)


def _say_nothing(_progress: object) -> None:
    pass


# The table


def _show(cases: Sequence[Case]) -> None:
    show("## float16 storage")
    show(
        "Features are stored as float16 and taken back to float32 before anything is computed. The"
        " table compares similarities and ranks (text to video) with those of features that were"
        " never stored."
    )
    columns: dict[str, Callable[[Case], str]] = {
        "": lambda case: case.name,
        "error of a similarity, rms": lambda case: f"{_errors(case).square().mean().sqrt():.1e}",
        "largest": lambda case: f"{_errors(case).abs().max():.1e}",
        "spread of similarities": lambda case: f"{case.exact.std():.2g}",
        "queries with another rank": _changed_ranks,
        "largest change": _largest_change,
        "R@1": _recalls,
    }
    show(table(list(columns), [[cell(case) for cell in columns.values()] for case in cases]))
    moved = max(abs(_recall(case.stored, case) - _recall(case.exact, case)) for case in cases)
    show(
        "The error is far below the spread of the similarities, so ranks change only among videos"
        f" that score almost the same, and R@1 by {moved:.2f} points at most. Random directions are"
        " the worst case: all similarities lie close together, and nothing is to be found. The"
        " table does not say what training on float32 features would change: the trained head was"
        " fitted to the stored ones."
    )


def _errors(case: Case) -> Tensor:
    return (case.stored - case.exact).double()


def _ranks(case: Case) -> tuple[np.ndarray, np.ndarray]:
    before, after = (text_to_video_ranks(one, case.owners) for one in (case.exact, case.stored))
    return before.values, after.values


def _changed_ranks(case: Case) -> str:
    before, after = _ranks(case)
    return f"{(before != after).sum()} of {len(before)} ({(before != after).mean():.1%})"


def _largest_change(case: Case) -> str:
    before, after = _ranks(case)
    return f"{np.abs(before - after).max():g}"


def _recalls(case: Case) -> str:
    return f"{_recall(case.exact, case):.2f} to {_recall(case.stored, case):.2f}"


def _recall(similarity: Tensor, case: Case) -> float:
    return 100 * float(text_to_video_ranks(similarity, case.owners).hits(1).mean())


if __name__ == "__main__":
    main()
