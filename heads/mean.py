"""Mean pooling: the base of the paper's Table 1, and zero-shot CLIP on untouched features."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames, uniform_weights


class MeanPooling(nn.Module):
    """Cosine of the sentence with the mean of the frames; nothing to learn.

    As CLIP4Clip's released meanP does it: each frame is brought to unit length before the mean,
    so that no frame counts more for its norm, and the mean again after it.
    """

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return the similarity as its one part, `frames`."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    weighs_by_text = False
    weighs_by_words = False

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts: all the same."""
        return uniform_weights(videos.frame_mask, texts.sentence)

    def prepare_texts(self, texts: Texts) -> Float[Tensor, "text dim"]:
        """What depends on the texts alone."""
        return normalize(texts.sentence, dim=-1)

    def prepare_videos(self, videos: Videos) -> Float[Tensor, "video dim"]:
        """What depends on the videos alone; the final length makes the mean as good as the sum."""
        return normalize(normalize(inert_frames(videos), dim=-1).sum(1), dim=-1)

    def score(
        self, texts: Float[Tensor, "text dim"], videos: Float[Tensor, "video dim"]
    ) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        return texts @ videos.T

    def score_parts(
        self, texts: Float[Tensor, "text dim"], videos: Float[Tensor, "video dim"]
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the one part of the similarity of prepared texts and videos."""
        return {"frames": self.score(texts, videos)}

    def floats_per_pair(self, words: int, frames: int) -> int:  # noqa: ARG002 (every head's shape)
        """How many numbers scoring holds at once for a pair of a text and a video."""
        return 1

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers preparing a video takes; one vector of them is kept."""
        return 2 * frames * dim + dim
