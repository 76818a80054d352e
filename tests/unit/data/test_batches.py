import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidret.data.batches import PackedTexts, Texts, pad_words

DIM = 3


def packed(lengths, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PackedTexts(
        sentence=torch.randn(len(lengths), DIM, generator=generator),
        values=torch.randn(sum(lengths), DIM, generator=generator),
        offsets=torch.tensor([0, *lengths]).cumsum(0),
    )


def words_of(texts, row):
    """The words of a caption in a batch, one after the other."""
    return list(texts.words[row][texts.word_mask[row]])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_rows_of_packed_captions_are_those_captions(lengths, data):
    texts = packed(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    batch = texts[torch.tensor(rows)]
    assert batch.words.shape == (len(rows), max(1, *(lengths[row] for row in rows), 1), DIM)
    for place, row in enumerate(rows):
        assert torch.equal(batch.sentence[place], texts.sentence[row])
        own = texts.values[texts.offsets[row] : texts.offsets[row + 1]]
        found = words_of(batch, place)
        assert len(found) == len(own)
        assert all(torch.equal(one, other) for one, other in zip(found, own, strict=True))


def test_a_slice_of_packed_captions_is_what_its_padded_rows_are():
    texts = packed([2, 0, 4, 1])
    words, mask = pad_words(texts.values, texts.offsets)
    whole = Texts(sentence=texts.sentence, words=words, word_mask=mask)
    for rows in (slice(0, 2), slice(1, 4), slice(None)):
        one, other = texts[rows], whole[rows]
        assert torch.equal(one.word_mask, other.word_mask)
        assert torch.equal(one.words[one.word_mask], other.words[other.word_mask])


def test_packed_and_padded_captions_know_their_lengths():
    texts = packed([2, 0, 4])
    assert texts.lengths.tolist() == texts[:].lengths.tolist() == [2, 0, 4]
    assert len(texts) == 3


def test_captions_without_any_word_have_room_for_one_and_none_of_it_counts():
    batch = packed([0, 0])[torch.tensor([1, 0, 1])]
    assert batch.words.shape == (3, 1, DIM)
    assert not batch.word_mask.any()


def test_no_captions_are_a_batch_of_none():
    assert len(packed([1, 2])[:0]) == 0


def test_packed_captions_take_no_more_than_their_words():
    lengths = [7] * 1000 + [300]
    texts = packed(lengths)
    assert texts.values.numel() == sum(lengths) * DIM


@pytest.mark.gpu
def test_packed_captions_move_and_are_gathered_where_they_lie():
    texts = packed([2, 0, 4]).to("cuda")
    batch = texts[torch.tensor([2, 0], device="cuda")]
    assert batch.words.device.type == "cuda"
    assert torch.equal(batch.to("cpu").sentence, packed([2, 0, 4]).sentence[[2, 0]])
