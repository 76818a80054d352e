import json
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import pytest

from vidret.data.errors import ConfigError, MissingError
from vidret.data.msvd import load_msvd

ANNOTATIONS = Path(
    os.environ.get("VIDRET_ANNOTATIONS", Path(__file__).parents[4] / "shared" / "annotations")
)
LISTS = {
    "train": ["-4wsuPCjDBc_5_15", "_7KMZQEsJW4_205_208"],
    "val": ["bQJQGoJF7_k_162_169"],
    "test": ["eyhzdC936uk_15_27"],
}
CAPTIONS = {
    "eyhzdC936uk_15_27": ["a dog barks", "a dog barks"],
    "-4wsuPCjDBc_5_15": ["it s a shell"],
    "_7KMZQEsJW4_205_208": ["na"],
    "bQJQGoJF7_k_162_169": ["a cat runs", "a cat is running"],
    "of-another-list_0_1": ["left out"],
}


@pytest.fixture
def root(tmp_path):
    """A small copy, without videos."""
    for split, ids in LISTS.items():
        (tmp_path / f"{split}_list.txt").write_text("\r\n".join(ids))  # no final line end
    (tmp_path / "captions_msvd.json").write_text(json.dumps(CAPTIONS))
    return tmp_path


@pytest.fixture(scope="module")
def real():
    if not (ANNOTATIONS / "msvd").is_dir():
        pytest.skip(f"MSVD's annotation files are not in {ANNOTATIONS / 'msvd'}")
    return ANNOTATIONS / "msvd"


def paths(dataset):
    return {video.id: video.path for video in dataset.videos}


def as_pickle(root, values):
    (root / "captions_msvd.json").unlink()
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(values))


def test_videos_come_by_split_in_the_order_of_the_lists(root):
    videos = load_msvd(root).videos
    assert [(video.id, video.split) for video in videos] == [
        (id_, split) for split, ids in LISTS.items() for id_ in ids
    ]


def test_repeated_captions_are_kept_and_those_of_unlisted_clips_are_not(root):
    captions = load_msvd(root).captions
    assert [(caption.id, caption.text) for caption in captions] == [
        ("-4wsuPCjDBc_5_15#0", "it s a shell"),
        ("_7KMZQEsJW4_205_208#0", "na"),
        ("bQJQGoJF7_k_162_169#0", "a cat runs"),
        ("bQJQGoJF7_k_162_169#1", "a cat is running"),
        ("eyhzdC936uk_15_27#0", "a dog barks"),
        ("eyhzdC936uk_15_27#1", "a dog barks"),
    ]


def test_the_pickle_of_word_lists_gives_the_same_dataset(root):
    expected = load_msvd(root)
    as_pickle(root, {id_: [text.split() for text in texts] for id_, texts in CAPTIONS.items()})
    assert load_msvd(root) == expected


def test_a_pickle_of_python_2_is_read(root):
    as_pickle(root, {})
    content = b"(dp0\nS'eyhzdC936uk_15_27'\np1\n(lp2\n(lp3\nS'a'\naS'dog'\naas."
    (root / "raw-captions.pkl").write_bytes(content)
    assert [caption.text for caption in load_msvd(root).captions] == ["a dog"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(root, monkeypatch):
    monkeypatch.chdir(root)
    as_pickle(root, {"eyhzdC936uk_15_27": Evil()})
    with pytest.raises(ConfigError, match=r"asks for posix\.mkdir.*captions_msvd\.json"):
        load_msvd(root)
    assert not (root / "owned").exists()


@pytest.mark.parametrize("values", [[], "text", {"eyhzdC936uk_15_27": [3]}, {"a": [["x", 1]]}])
def test_captions_of_another_form_are_refused_with_their_file(root, values):
    as_pickle(root, values)
    with pytest.raises(ConfigError, match=r"raw-captions\.pkl"):
        load_msvd(root)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x05garbage"])
@pytest.mark.parametrize("name", ["captions_msvd.json", "raw-captions.pkl"])
def test_captions_that_cannot_be_read_are_refused_with_their_file(root, name, content):
    (root / "captions_msvd.json").unlink()
    (root / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name} cannot be read as captions"):
        load_msvd(root)


@pytest.mark.parametrize("name", ["train_list.txt", "test_list.txt", "captions_msvd.json"])
def test_a_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(MissingError, match=f"{name}.*the folder holds train_list.txt"):
        load_msvd(root)


def test_annotations_may_lie_in_a_folder_of_their_own(root):
    expected = load_msvd(root)
    (root / "msvd_data").mkdir()
    for path in [*root.glob("*.txt"), *root.glob("*.json")]:
        shutil.move(path, root / "msvd_data" / path.name)
    assert load_msvd(root) == expected


def test_a_clip_in_two_lists_is_refused_by_name(root):
    (root / "val_list.txt").write_text("eyhzdC936uk_15_27\n\n")
    with pytest.raises(
        ConfigError, match=r"eyhzdC936uk_15_27 is in val_list\.txt and again in test_"
    ):
        load_msvd(root)


@pytest.mark.parametrize("place", ["YouTubeClips/{}.avi", "videos/all/{}.mp4", "{}.MKV"])
def test_clips_are_found_wherever_they_lie_and_whatever_they_are(root, place):
    path = root / place.format("-4wsuPCjDBc_5_15")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert paths(load_msvd(root))["-4wsuPCjDBc_5_15"] == path


def test_of_two_files_of_one_clip_the_nearer_one_counts(root):
    for name in ("a/small/eyhzdC936uk_15_27.avi", "b/eyhzdC936uk_15_27.avi"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"")
    assert paths(load_msvd(root))["eyhzdC936uk_15_27"] == root / "b" / "eyhzdC936uk_15_27.avi"


def test_clips_that_are_not_there_stay_and_are_noted(root):
    dataset = load_msvd(root)
    expected = root / "YouTubeClips" / "eyhzdC936uk_15_27.avi"
    assert paths(dataset)["eyhzdC936uk_15_27"] == expected
    assert any("not found below" in note and ": 4 (" in note for note in dataset.notes)


def test_a_clip_without_captions_stays_and_is_noted(root):
    short = {id_: texts for id_, texts in CAPTIONS.items() if id_ != "bQJQGoJF7_k_162_169"}
    (root / "captions_msvd.json").write_text(json.dumps(short))
    dataset = load_msvd(root)
    assert len(dataset.videos) == 4
    assert "videos without a caption: 1 (bQJQGoJF7_k_162_169)" in dataset.notes


def test_lists_of_another_length_than_the_published_ones_are_noted(root):
    assert "test has 1 videos here, and 670 in the published list" in load_msvd(root).notes


def test_the_real_files_give_the_published_counts(real):
    dataset = load_msvd(real)
    split_of = {video.id: video.split for video in dataset.videos}
    assert Counter(split_of.values()) == {"train": 1200, "val": 100, "test": 670}
    captions = Counter(split_of[caption.video_id] for caption in dataset.captions)
    assert captions == {"train": 48_774, "val": 4_290, "test": 27_763}
    per_video = Counter(caption.video_id for caption in dataset.captions)
    assert (min(per_video.values()), max(per_video.values())) == (18, 81)
    assert len({caption.id for caption in dataset.captions}) == 80_827
    assert dataset.protocol == "msvd-multi"
    assert dataset.captions[0].text == "a squirrel is eating a peanut in it s shell"
    assert [note for note in dataset.notes if "not found" not in note] == []


def test_the_real_captions_as_a_pickle_give_the_same_dataset(real, tmp_path):
    for path in real.glob("*_list.txt"):
        (tmp_path / path.name).write_text("\n".join(path.read_text().split()[:30]))
    shutil.copyfile(real / "captions_msvd.json", tmp_path / "captions_msvd.json")
    expected = load_msvd(tmp_path)
    captions = json.loads((real / "captions_msvd.json").read_text())
    words = {id_: [text.split(" ") for text in texts] for id_, texts in captions.items()}
    as_pickle(tmp_path, words)
    assert len(expected.captions) > 90 * 18
    assert load_msvd(tmp_path) == expected
