"""What every head asks of a caption's words: that there are some, and that padding is inert."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidret.data.batches import Texts


def inert_words(
    texts: Texts, *, with_end: bool
) -> tuple[Float[Tensor, "text some dim"], Bool[Tensor, "text some"]]:
    """The words with zeros for padding, and the end token before them where it is wanted.

    The end token's embedding is the sentence's. An empty caption has no other token, so there it
    always stands in.
    """
    if not with_end and texts.word_mask.all():
        return texts.words, texts.word_mask
    words = texts.words.masked_fill(~texts.word_mask[..., None], 0)
    empty = ~texts.word_mask.any(-1, keepdim=True)
    if not with_end and not empty.any():
        return words, texts.word_mask
    words = torch.cat([texts.sentence[:, None], words], dim=1)
    with_sentence = torch.ones_like(empty) if with_end else empty
    return words, torch.cat([with_sentence, texts.word_mask], dim=1)
