"""Similarities with and without hubs, and banks that show the same ones."""

import numpy as np

from vidret.heads.reranking.pairs import pairs_of
from vidret.heads.reranking.ranking import Banks


def draw(texts, videos, *, bank=40, bank_videos=30, seed=0, levels=None):
    """Similarities between -0.2 and 0.8, owners that leave some videos out, and both banks."""
    numbers = np.random.default_rng(seed)

    def matrix(rows, columns):
        values = numbers.uniform(-0.2, 0.8, size=(rows, columns))
        return values if levels is None else (values * levels).round() / levels

    owners = numbers.integers(max(1, videos - 2), size=texts)
    return matrix(texts, videos), owners, matrix(bank, videos), matrix(texts, bank_videos)


def banks_of(texts, videos, **settings):
    """The banks of two matrices."""
    return Banks(
        texts=None if texts is None else pairs_of(texts, what="the text bank", **settings),
        videos=None if videos is None else pairs_of(videos, what="the video bank", **settings),
    )


def planted_hubs(way, *, videos=40, captions=3, height=0.35, seed=0):
    """A world in which each text is nearest to its own video, and the same with hubs that hide it.

    A hub lies `height` nearer to whatever looks for it, what is in the bank as well: every fifth
    video where `way` is t2v, and where it is v2t the texts of every fifth video.

    Returns:
        The owners, then similarities, text bank and video bank without hubs, then those with them.
    """
    numbers = np.random.default_rng(seed)
    owners = np.repeat(np.arange(videos), captions)
    train = np.arange(4 * videos) + videos  # of no video that is searched

    def near(of_texts, of_videos):
        noise = numbers.uniform(0, 0.2, size=(len(of_texts), len(of_videos)))
        return noise + 0.3 * (of_texts[:, None] == of_videos)

    here = np.arange(videos)
    scores, texts, bank_videos = near(owners, here), near(train, here), near(owners, train)
    if way == "t2v":
        hubs = height * (here % 5 == 0)
        hubbed = scores + hubs, texts + hubs, bank_videos
    else:
        hubs = height * (owners % 5 == 0)[:, None]
        hubbed = scores + hubs, texts, bank_videos + hubs
    return owners, (scores, texts, bank_videos), hubbed


def without_hubs(videos=12, captions=2, *, bank=3, lowest=0.0):
    """Similarities and banks in which every candidate has the very same ones, in another order.

    Returns:
        The owners, the similarities, the text bank and the video bank.
    """
    numbers = np.random.default_rng(1)

    def circulant(rows, columns):
        values = numbers.permutation(np.linspace(lowest, 0.9, columns))
        return values[(np.arange(rows)[:, None] - np.arange(columns)) % columns]

    texts = videos * captions
    owners = numbers.permutation(videos)[np.arange(texts) % videos]  # equal rows, equal owners
    return owners, circulant(texts, videos), circulant(bank * videos, videos), circulant(texts, 7)
