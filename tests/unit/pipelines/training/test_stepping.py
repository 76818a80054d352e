from contextlib import nullcontext
from functools import partial

import pytest
import torch
from making.encoded import CAPTIONS, gradients, loss_with, make_head, make_split
from making.stepped import SIZES, WAYS, step_alone, step_together
from making.together import run_together

from vidret.pipelines.training.stepping import backward_in_parts

TEXTS, PICTURES, SOUNDS = ("sentence", "words"), ("frames",), ("audio",)
EXACT = {"rtol": 1e-10, "atol": 1e-12}
LIVE = {
    "all": (TEXTS, PICTURES + SOUNDS),
    "texts": (TEXTS, ()),
    "pictures": ((), PICTURES),
    "sound": ((), SOUNDS),
    "none": ((), ()),
}


def plain_step(split, head, rows):
    """One graph from the raw numbers to the loss."""
    loss = loss_with(head, *split.features(rows), split.cached.owners[rows])
    loss.backward()
    return loss.detach()


def chunked_step(split, head, rows, chunk):
    return backward_in_parts(
        split, rows, partial(loss_with, head), chunk=chunk, computing=nullcontext
    )


def require_same_step(live, rows, chunk, *, head="mgfi+cmfi"):
    found = []
    for step in (plain_step, partial(chunked_step, chunk=chunk)):
        split, own = make_split(*live), make_head(head)
        found.append((step(split, own, rows), gradients(own, split.networks)))
    (loss, expected), (same_loss, same) = found
    torch.testing.assert_close(same_loss, loss, **EXACT)
    assert {name for name, one in same.items() if one is not None} == {
        name for name, one in expected.items() if one is not None
    }
    for name, one in expected.items():
        if one is not None:
            torch.testing.assert_close(same[name], one, **EXACT)
    return expected


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("live", LIVE)
def test_a_step_in_parts_gives_the_gradients_of_the_whole_batch(live, chunk):
    reached = require_same_step(LIVE[live], torch.tensor([3, 0, 12, 6, 9, 1]), chunk)
    encoders = [one for name, one in reached.items() if name.startswith("1.")]
    assert any(one is not None and one.abs().max() > 1e-4 for one in encoders) == (live != "none")


def test_a_video_that_several_captions_have_is_encoded_once():
    rows = torch.tensor([4, 11, 2, 4, 0])  # 4 and 11 are of one video, 4 is there twice
    require_same_step(LIVE["all"], rows, 2)
    split = make_split(*LIVE["all"])
    chunked_step(split, make_head(), rows, 100)
    assert split.encoded == [5, 3]


def test_a_head_that_looks_at_no_words_leaves_them_without_gradients():
    require_same_step(LIVE["all"], torch.arange(6), 2, head="s-f")


def test_no_part_is_larger_than_asked_for():
    split = make_split(*LIVE["all"])
    chunked_step(split, make_head(), torch.arange(CAPTIONS), 4)
    assert max(split.encoded) == 4
    assert sum(split.encoded) == 2 * (CAPTIONS + 7)  # once without a graph, once with one


def test_a_batch_that_fits_one_part_is_encoded_once():
    split = make_split(*LIVE["all"])
    chunked_step(split, make_head(), torch.arange(5), 100)
    assert sum(split.encoded) == 5 + 5


def test_no_graph_of_an_encoder_is_left_while_the_loss_is_computed():
    """Or the memory that parts are to save would be taken all the same."""
    split, head = make_split(*LIVE["all"]), make_head()

    def loss_of(texts, videos, owners):
        assert all(leaf.is_leaf for leaf in (texts.sentence, texts.words))
        frames = videos.frames.grad_fn.next_functions[0][0]  # of each caption, from each video
        assert type(frames).__name__ == "AccumulateGrad"
        return loss_with(head, texts, videos, owners)

    backward_in_parts(split, torch.arange(6), loss_of, chunk=2, computing=nullcontext)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of three processes found, for each way of `WAYS` and each size of batch."""
    return run_together(3, step_together, tmp_path_factory.mktemp("together"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)  # uneven ones, and one below the number of processes
def test_processes_together_find_the_gradients_of_one(together, way, size):
    alone = step_alone(way, size)
    for found in together:
        one = found[f"{way} {size}"]
        assert one.keys() == alone.keys()
        for name, gradient in alone.items():
            torch.testing.assert_close(one[name], gradient, **EXACT)


def test_processes_agree_to_the_bit(together):
    first, *others = together
    for other in others:
        assert all(
            torch.equal(one[name], first[case][name]) for case, one in other.items() for name in one
        )
