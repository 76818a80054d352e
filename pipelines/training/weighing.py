"""How much the sound counts in a score, found on the split that picks the epoch."""

from vidret.heads.metrics import summarize, text_to_video_ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import parts_in_blocks
from vidret.pipelines.training.runs import AudioWeight
from vidret.pipelines.training.splits import Split

FROM_VAL = "val"
GRID = tuple(quarter / 4 for quarter in range(9))  # 0 to 2; the paper's is 1
TOLD = ("R@1", "R@5", "R@10", "MdR", "MnR")


def choose_audio_weight(retriever: Retriever, select: Split) -> AudioWeight:
    """Give the retriever the weight with the highest R@1, then the lowest mean rank.

    Of equals the one nearest to 1, the paper's, is taken, and of two such the lower one.
    """
    retriever.audio_weight.fill_(1.0)
    parts = parts_in_blocks(retriever, select.texts, select.videos)
    sound = parts.pop("audio")
    seen = sum(parts.values())
    tried = []
    for weight in GRID:
        numbers = summarize(text_to_video_ranks(seen + weight * sound, select.owners))
        tried.append({"weight": weight, **{name: numbers[name] for name in TOLD}})
    best = max(tried, key=lambda one: (one["R@1"], -one["MnR"], -abs(one["weight"] - 1)))
    retriever.audio_weight.fill_(best["weight"])
    return AudioWeight(chosen=best["weight"], tried=tried)
