"""DRL's weighted token-wise interaction (Wang et al. 2022): each word finds its frame, and back.

    s = (sum_w omega_w max_n cos(w, n) + sum_n omega_n max_w cos(w, n)) / 2

The weights of words and of frames come from a small net over each token alone, so they and the unit
tokens are made once a side. A pair needs the cosines of its words and frames and nothing wider.
"""

from jaxtyping import Float
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames
from vidret.heads.interaction import FramesOutside, both_ways, frames_outside, shares_of_frames
from vidret.heads.options import HeadOptions
from vidret.heads.tokens import TokenWeights, WeightedTokens
from vidret.heads.words import inert_words


class TokenWise(nn.Module):
    """Mean of what the words find among the frames and the frames among the words."""

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.of_words = TokenWeights(dim, options)
        self.of_frames = TokenWeights(dim, options)
        self.sees_end = options.word_set == "words+end"

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return what the `words` find and what the `frames` find."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    weighs_by_text = True
    weighs_by_words = True

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts: as the best of words, and for itself."""
        return shares_of_frames(self.prepare_texts(texts), self.prepare_videos(videos))

    def prepare_texts(self, texts: Texts) -> WeightedTokens:
        """What depends on the texts alone."""
        return self.of_words(*inert_words(texts, with_end=self.sees_end))

    def prepare_videos(self, videos: Videos) -> FramesOutside:
        """What depends on the videos alone."""
        return frames_outside(self.of_frames(inert_frames(videos), videos.frame_mask))

    def score(self, texts: WeightedTokens, videos: FramesOutside) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        by_words, by_frames = both_ways(texts, videos)
        return by_words + by_frames

    def score_parts(
        self, texts: WeightedTokens, videos: FramesOutside
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the two parts of the similarity of prepared texts and videos."""
        by_words, by_frames = both_ways(texts, videos)
        return {"words": by_words, "frames": by_frames}

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair: three tables of words and frames."""
        return 3 * (words + 1) * frames + 4 * (words + 1) + 4 * frames

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, with what is made on the way."""
        return frames * (5 * dim + 2 * self.of_frames.first.out_features)
