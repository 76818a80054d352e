"""Our heads as the oracle of the equations takes them: its inputs, its weights, its scores."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from oracles import paper

from vidret.data.batches import Texts, Videos
from vidret.heads.retriever import Retriever

VARIANTS = {
    "mean-ff": paper.Variant(sentence_frame=False, word_frame=False),
    "s-f": paper.Variant(word_frame=False),
    "w-f": paper.Variant(sentence_frame=False),
    "mgfi": paper.Variant(),
}


@dataclass(frozen=True)
class Inputs:
    """What the oracle reads, unpadded; each list has one array a caption or video."""

    sentences: list
    words: list
    frames: list
    audio: list


def inputs_of(texts: Texts, videos: Videos) -> Inputs:
    """A batch without its padding, copied; the end token is the one word of an empty caption."""
    return Inputs(
        sentences=[row.numpy().copy() for row in texts.sentence],
        words=[
            (row[mask] if mask.any() else sentence[None]).numpy().copy()
            for row, mask, sentence in zip(
                texts.words, texts.word_mask, texts.sentence, strict=True
            )
        ],
        frames=[
            row[mask].numpy().copy()
            for row, mask in zip(videos.frames, videos.frame_mask, strict=True)
        ],
        audio=[
            row.numpy().copy() if heard else None
            for row, heard in zip(videos.audio, videos.audio_mask, strict=True)
        ],
    )


def named_weights(retriever: Retriever) -> Iterator[tuple[str, torch.nn.Parameter, bool]]:
    """The oracle's name of each parameter, and whether the oracle holds it transposed."""
    names = {
        "video_head.norm.weight": "norm1_weight",
        "video_head.norm.bias": "norm1_bias",
        "video_head.norm_words.weight": "norm_words_weight",
        "video_head.norm_words.bias": "norm_words_bias",
        "video_head.norm_frames.weight": "norm_frames_weight",
        "video_head.norm_frames.bias": "norm_frames_bias",
        "video_head.query.bias": "b_q",
        "video_head.word_query.bias": "b_q_words",
        "video_head.key.bias": "b_k",
        "video_head.value.bias": "b_v",
        "video_head.out.bias": "b_o",
        "video_head.query.weight": "w_q",
        "video_head.word_query.weight": "w_q_words",
        "video_head.key.weight": "w_k",
        "video_head.value.weight": "w_v",
        "video_head.out.weight": "w_o",
        "video_head.feed_forward.norm.weight": "norm2_weight",
        "video_head.feed_forward.norm.bias": "norm2_bias",
        "video_head.feed_forward.first.weight": "ff_w1",
        "video_head.feed_forward.first.bias": "ff_b1",
        "video_head.feed_forward.second.weight": "ff_w2",
        "video_head.feed_forward.second.bias": "ff_b2",
        "video_head.word_feed_forward.norm.weight": "word_norm2_weight",
        "video_head.word_feed_forward.norm.bias": "word_norm2_bias",
        "video_head.word_feed_forward.first.weight": "word_ff_w1",
        "video_head.word_feed_forward.first.bias": "word_ff_b1",
        "video_head.word_feed_forward.second.weight": "word_ff_w2",
        "video_head.word_feed_forward.second.bias": "word_ff_b2",
        "audio_head.norm.weight": "norm_weight",
        "audio_head.norm.bias": "norm_bias",
        "audio_head.linear.weight": "linear_w",
        "audio_head.linear.bias": "linear_b",
        "audio_head.null": "null",
    }
    for name, parameter in retriever.named_parameters():
        if name not in {"tau", "video_head.word_log_scale"}:
            yield names[name], parameter, parameter.ndim == 2


def oracle_weights(retriever: Retriever) -> dict[str, np.ndarray]:
    """The retriever's weights by the oracle's names; empty ones for what a variant lacks."""
    missing = [*fields(paper.MGFIWeights), *fields(paper.CMFIWeights)]
    weights = {field.name: np.empty(0) for field in missing}
    for name, parameter, transposed in named_weights(retriever):
        array = parameter.detach().numpy().copy()
        weights[name] = array.T if transposed else array
    return weights


def oracle_scores(
    name: str, retriever: Retriever, weights: dict[str, np.ndarray], given: Inputs
) -> np.ndarray:
    """The similarity of every text and video by the oracle."""
    pooling, _, sound = name.partition("+")
    if pooling == "mean":
        scores = np.array(
            [
                [paper.mean_pooling_similarity(x_t, x_v) for x_v in given.frames]
                for x_t in given.sentences
            ]
        )
    else:
        scale = float(retriever.video_head.word_log_scale.detach().exp())
        variant = replace(
            VARIANTS[pooling],
            word_scale=scale,
            activation=retriever.video_head.activation,
            with_end=retriever.video_head.sees_end,
        )
        scores = variant_scores(variant, weights, given)
    if sound:
        chosen = {field.name: weights[field.name] for field in fields(paper.CMFIWeights)}
        scores = scores + paper.audio_text_similarities(
            given.sentences, given.audio, paper.CMFIWeights(**chosen)
        )
    return scores


def variant_scores(
    variant: paper.Variant, weights: dict[str, np.ndarray], given: Inputs
) -> np.ndarray:
    """Equation 10 of one variant by the oracle."""
    chosen = {field.name: weights[field.name] for field in fields(paper.MGFIWeights)}
    return paper.video_text_similarities(
        given.sentences, given.words, given.frames, paper.MGFIWeights(**chosen), variant
    )
