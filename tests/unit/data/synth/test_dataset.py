import json

import pytest

from vidret.data.errors import DamagedError, MissingError
from vidret.data.folder import load_folder
from vidret.data.synth.dataset import (
    CAPTIONS_FILE,
    MINI_FOLDER,
    draw_clips,
    load_synth,
    load_synth_mini,
    synth_folder,
    write_captions,
)


def touch_videos(dataset):
    """Stand-ins where a test only asks which files are there."""
    for video in dataset.videos:
        video.path.parent.mkdir(parents=True, exist_ok=True)
        video.path.write_bytes(b"clip")


def test_number_and_seed_of_a_set_name_its_folder(tmp_path):
    folders = {synth_folder(tmp_path, clips, seed) for clips in (54, 60) for seed in (0, 1)}
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {tmp_path / "synth"}


def test_the_set_is_described_before_it_is_drawn(tmp_path):
    dataset, undrawn = load_synth(tmp_path, 54, 0)
    assert (len(dataset.videos), len(dataset.captions), len(undrawn)) == (54, 216, 54)
    assert [clip.id for clip in undrawn] == [video.id for video in dataset.videos]
    assert {caption.kind for caption in dataset.captions} == {"event", "detail", "sound"}
    assert {video.split for video in dataset.videos} == {"train", "val", "test"}
    assert not list(tmp_path.iterdir())
    assert "not a benchmark" in dataset.notes[0]


def test_every_caption_names_its_video(tmp_path):
    dataset, undrawn = load_synth(tmp_path, 54, 0)
    told = {clip.id: clip.captions for clip in undrawn}
    for video in dataset.videos:
        own = tuple(caption.text for caption in dataset.captions if caption.video_id == video.id)
        assert own == told[video.id]
    assert len({caption.id for caption in dataset.captions}) == 216


def test_only_what_is_missing_is_drawn(tmp_path):
    dataset, undrawn = load_synth(tmp_path, 54, 0)
    assert draw_clips(undrawn[:2], tmp_path) == 2
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    assert sorted(before) == ["clip_00000.mp4", "clip_00001.mp4"]
    again, missing = load_synth(tmp_path, 54, 0)
    assert again == dataset
    assert missing == undrawn[2:]
    draw_clips(missing[:1], tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    assert after.keys() - before.keys() == {"clip_00002.mp4"}
    assert before.items() <= after.items()


def test_a_clip_that_was_being_drawn_counts_as_missing(tmp_path):
    dataset, undrawn = load_synth(tmp_path, 54, 0)
    touch_videos(dataset)
    dataset.videos[5].path.rename(tmp_path / "videos" / "clip_00005.mp4.0123.part")
    assert load_synth(tmp_path, 54, 0)[1] == undrawn[5:6]


def test_the_captions_file_is_what_the_folder_loader_reads(tmp_path):
    dataset, _ = load_synth(tmp_path, 54, 0)
    touch_videos(dataset)
    write_captions(tmp_path, dataset)
    loaded = load_folder(tmp_path)
    assert [(video.path, video.split) for video in loaded.videos] == [
        (video.path, video.split) for video in dataset.videos
    ]
    assert [(caption.text, caption.kind) for caption in loaded.captions] == [
        (caption.text, caption.kind) for caption in dataset.captions
    ]
    assert [caption.video_id for caption in loaded.captions] == [
        f"videos/{caption.video_id}.mp4" for caption in dataset.captions
    ]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MissingError, match=r"cannot write to .*file/set: .*--work"):
        draw_clips([], tmp_path / "file" / "set")


def test_the_bundled_clips_are_found_by_their_captions_file(tmp_path):
    dataset, _ = load_synth(tmp_path, 54, 0)
    touch_videos(dataset)
    write_captions(tmp_path, dataset)
    mini = load_synth_mini(tmp_path)
    assert mini.videos == dataset.videos
    assert [(c.video_id, c.text, c.kind) for c in mini.captions] == [
        (c.video_id, c.text, c.kind) for c in dataset.captions
    ]
    assert len({caption.id for caption in mini.captions}) == len(mini.captions)


@pytest.mark.parametrize("content", [None, '{"video": "videos/clip_0', "\xff"])
def test_bundled_clips_that_are_damaged_ask_for_an_installation(tmp_path, content):
    if content is not None:
        (tmp_path / CAPTIONS_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(DamagedError, match="install vidret again"):
        load_synth_mini(tmp_path)


@pytest.mark.skipif(not MINI_FOLDER.exists(), reason="the bundled clips are not drawn yet")
def test_the_bundled_clips_are_whole_and_small():
    mini = load_synth_mini()
    assert {caption.kind for caption in mini.captions} == {"event", "detail", "sound"}
    assert {caption.video_id for caption in mini.captions} == {video.id for video in mini.videos}
    assert 0 < sum(video.path.stat().st_size for video in mini.videos) < 2_000_000
    lines = (MINI_FOLDER / CAPTIONS_FILE).read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line).keys() == {"video", "caption", "split", "kind"} for line in lines)
