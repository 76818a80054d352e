import pytest
import torch
from making.heads import draw_texts, draw_videos, shake

from vidret.heads.direct import DirectMGFI
from vidret.heads.mgfi import MGFI
from vidret.heads.options import HeadOptions

DIM = 8
CHOICES = (
    {},
    {"feed_forward": "own"},
    {"norms": "own"},
    {"projection_bias": True},
    {"word_set": "words+end", "word_weight_scale": "learnable", "activation": "relu"},
)


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize(
    ("sentence_frame", "word_frame"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_the_parts_are_those_of_prepared_videos(options, sentence_frame, word_frame):
    head = MGFI(
        DIM,
        sentence_frame=sentence_frame,
        word_frame=word_frame,
        options=HeadOptions(hidden=6, start="random", **options),
    )
    head = shake(head.double()).eval()
    texts, videos = draw_texts((3, 1, 0, 5), DIM), draw_videos((4, 2, 1), DIM, 3)
    with torch.inference_mode():
        expected, found = head.parts(texts, videos), DirectMGFI(head).parts(texts, videos)
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        torch.testing.assert_close(found[name], part, atol=1e-12, rtol=1e-9)
