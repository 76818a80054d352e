from types import SimpleNamespace

import pytest
import torch
from making.planted import write_planted_cache
from making.towers import a_sound, some_encoders

from vidret.data.batches import Videos
from vidret.data.cache import FeatureCache
from vidret.extract.panns import SHORTEST, WINDOW
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.footage import Shot
from vidret.pipelines.training.live import LiveSplit, Source, _as_stored, _encode_sounds
from vidret.pipelines.training.splits import begin_epoch

CPU = torch.device("cpu")
LENGTHS = (2 * WINDOW + SHORTEST, WINDOW, 20_000, SHORTEST // 2, WINDOW)  # of some sounds


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = write_planted_cache(tmp_path_factory.mktemp("dense"), splits={"train": 9}, dense=True)
    return as_split(FeatureCache.open(folder).load("train"), CPU, jitter=True)


def heard(lengths, dim):
    """Sounds of these lengths, and videos that have them; a None has no sound."""
    draw = torch.Generator().manual_seed(2)
    shots = [
        Shot(
            pictures=torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            waveform=None if length is None else torch.randn(length, generator=draw) / 10,
        )
        for length in lengths
    ]
    videos = Videos(
        frames=torch.zeros(len(lengths), 1, 2),
        frame_mask=torch.ones(len(lengths), 1, dtype=torch.bool),
        audio=torch.zeros(len(lengths), dim),
        audio_mask=torch.tensor([length is not None for length in lengths]),
    )
    return shots, videos


def test_windows_that_go_through_together_give_what_each_sound_gives_alone():
    sound = a_sound()
    shots, videos = heard((*LENGTHS, None), sound.dim)
    with torch.no_grad():
        found = _encode_sounds(sound, shots, videos)
        alone = [sound.encode(shot.waveform) for shot in shots[:-1]]
    torch.testing.assert_close(found[:-1], torch.stack(alone), rtol=1e-5, atol=1e-6)
    assert not found[-1].any()


def test_gradients_of_every_window_reach_the_network():
    sound = a_sound()
    shots, videos = heard(LENGTHS, sound.dim)
    _encode_sounds(sound, shots, videos).square().sum().backward()
    together = sound.model.embed.weight.grad.clone()
    sound.model.zero_grad()
    torch.stack([sound.encode(shot.waveform) for shot in shots]).square().sum().backward()
    torch.testing.assert_close(together, sound.model.embed.weight.grad, rtol=1e-4, atol=1e-6)


def test_without_live_pictures_an_epoch_draws_frames_as_train_heads_does(dense):
    live = LiveSplit(cached=dense, source=None, live=frozenset())
    rows = torch.tensor([3, 0, 5])
    found = live.begin_epoch(torch.Generator().manual_seed(4)).batch(rows)[1]
    expected = begin_epoch(dense, torch.Generator().manual_seed(4))(rows).videos
    assert torch.equal(found.frames, expected.frames)
    assert torch.equal(found.frame_mask, expected.frame_mask)
    still = live.batch(rows)[1].frames
    assert not torch.equal(found.frames, still)


def test_where_nothing_is_drawn_the_generator_keeps_still(dense):
    generator = torch.Generator().manual_seed(4)
    before = generator.get_state()
    plain = LiveSplit(cached=dense, source=SimpleNamespace(), live=frozenset({"visual"}))
    assert plain.begin_epoch(generator) is plain
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("hidden", [False, True])
def test_features_are_rounded_where_a_cache_rounds_them(hidden):
    """In numpy: before the last projection where the cache was made before it."""
    encoders = some_encoders()
    source = Source(
        features=None, tokens=torch.zeros(0), footage=None, encoders=encoders, hidden=hidden
    )
    width = encoders.clip.frame_dim(hidden)
    values = torch.randn(4, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = _as_stored(source, values, "visual", "video v").numpy()
    expected = values.half().float().numpy()
    if hidden:
        expected = expected @ encoders.clip.model.visual.proj.detach().numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_names_of_what_is_live_are_those_of_the_batch(dense):
    live = LiveSplit(cached=dense, source=None, live=frozenset({"text", "audio"}))
    assert live.live_texts == ("sentence", "words")
    assert live.live_videos == ("audio",)
