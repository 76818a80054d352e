"""A pixel shard gives back what was added and not taken back, whatever the order."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from making.pixels import a_failure_of, a_file, a_sound, named, some_facts

from vidret.data.pixels.reader import PixelReader, read_pixel_table
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState

SIDE = 148  # three pictures fill a chunk, and a fourth begins the next
CHUNK = 65_536  # samples

pictures = st.tuples(st.just("picture"), st.integers(0, 255))
lengths = st.sampled_from([0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
sounds = st.tuples(st.just("sound"), lengths)
restarts = st.tuples(st.just("restart"), st.none())
steps = st.lists(st.one_of(pictures, pictures, pictures, sounds, restarts), max_size=12)
ends = st.one_of(st.none(), st.sampled_from(AudioState))  # None fails


def take(steps, writer):
    """Tell the writer all of it; what it should have kept: pictures, samples."""
    kept, heard = [], [np.zeros(0, np.float32)]
    for what, value in steps:
        if what == "picture":
            kept.append(np.full((3, SIDE, SIDE), value, np.uint8))
            writer.add_picture(kept[-1])
        elif what == "sound":
            heard.append(a_sound(sum(map(len, heard)), value))
            writer.add_sound(heard[-1])
        else:
            kept = []
            writer.restart()
    return np.array(kept, np.uint8).reshape(-1, 3, SIDE, SIDE), np.concatenate(heard)


@given(st.lists(st.tuples(steps, ends), max_size=4))
@settings(max_examples=25, deadline=None)
def test_write_then_read_is_identity(videos):
    expected, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.h5"
        with new_pixel_shard(path, "abc", SIDE) as writer:
            for number, (told, state) in enumerate(videos):
                writer.begin(a_file(number))
                kept, heard = take(told, writer)
                if state is None:
                    failed.append(a_failure_of(number))
                    writer.fail(failed[-1])
                    continue
                facts = some_facts(len(kept), state, num_frames=number)
                writer.finish(facts, **named(number))
                heard = heard if state is AudioState.OK else heard[:0]
                expected[f"v{number}"] = (kept, heard, asdict(facts))
        table = read_pixel_table(path)
        assert table.failures == failed
        assert table.ids == list(expected)
        with PixelReader(path) as reader:
            for row, (kept, heard, facts) in enumerate(expected.values()):
                np.testing.assert_equal(asdict(table.facts[row]), facts)
                np.testing.assert_array_equal(reader.pictures(row), kept)
                np.testing.assert_array_equal(reader.sound(row), heard)
                np.testing.assert_array_equal(
                    np.concatenate([kept[:0], *reader.iter_pictures(row, at_once=2)]), kept
                )
