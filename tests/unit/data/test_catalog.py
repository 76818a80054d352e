import re
from dataclasses import replace
from pathlib import Path

import pytest
from making.caches import a_fingerprint

from vidret.data.catalog import DATASETS, cache_name, dataset_hash, dataset_key, load_dataset
from vidret.data.errors import ConfigError, MissingError
from vidret.data.samples import Caption, Dataset, Video


def a_dataset(folder: str = "/somewhere") -> Dataset:
    root = Path(folder)
    return Dataset(
        name="toy",
        root=root,
        videos=tuple(Video(id=id_, path=root / f"{id_}.mp4", split="train") for id_ in "abc"),
        captions=tuple(Caption(id=f"{id_}#0", video_id=id_, text=f"it is {id_}") for id_ in "abc"),
        protocol="pairs",
    )


def test_a_folder_is_a_dataset(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    dataset = load_dataset(f"folder:{tmp_path}", None)
    assert [video.id for video in dataset.videos] == ["a.mp4"]


def test_a_folder_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.mp4").write_bytes(b"")
    assert load_dataset("folder:~", None).root == tmp_path


def test_a_folder_with_a_second_root_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="leave out the root"):
        load_dataset(f"folder:{tmp_path}", tmp_path)


def test_a_folder_without_a_path_is_refused():
    with pytest.raises(ConfigError, match="folder:PATH"):
        load_dataset("folder:", None)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"no dataset 'mvsd'.*did you mean 'msvd'\?"):
        load_dataset("mvsd", None)


def test_a_path_in_place_of_a_name_is_told_how_to_be_written(tmp_path):
    with pytest.raises(ConfigError, match=f"write folder:{tmp_path}"):
        load_dataset(str(tmp_path), None)


def test_a_dataset_without_a_root_shows_the_lines_for_the_settings():
    with pytest.raises(MissingError) as caught:
        load_dataset("msvd", None)
    message = str(caught.value)
    assert 'no folder known for dataset "msvd"' in message
    assert '\n[datasets.msvd]\nroot = "/path/to/msvd"' in message
    assert "captions_msvd.json" in message
    assert "--root" in message
    assert "or pass --root" in message


def test_a_dataset_that_vidret_brings_along_needs_no_root(tmp_path, monkeypatch):
    entry = replace(DATASETS["msvd"], load=a_dataset_at, default_root=tmp_path)
    monkeypatch.setitem(DATASETS, "mine", entry)
    assert load_dataset("mine", None).root == tmp_path
    assert load_dataset("mine", tmp_path / "other").root == tmp_path / "other"


def a_dataset_at(root: Path) -> Dataset:
    return a_dataset(str(root))


def test_the_hash_depends_neither_on_the_place_nor_on_the_order():
    one, other = a_dataset(), a_dataset("/elsewhere")
    turned = replace(other, videos=other.videos[::-1], captions=other.captions[::-1])
    assert dataset_hash(turned) == dataset_hash(one)


@pytest.mark.parametrize("field", ["id", "split"])
def test_the_hash_depends_on_every_video(field):
    first, *rest = a_dataset().videos
    changed = replace(a_dataset(), videos=(replace(first, **{field: "other"}), *rest))
    assert dataset_hash(changed) != dataset_hash(a_dataset())


@pytest.mark.parametrize("field", ["id", "video_id", "text", "kind"])
def test_the_hash_depends_on_every_caption(field):
    first, *rest = a_dataset().captions
    changed = replace(a_dataset(), captions=(replace(first, **{field: "other"}), *rest))
    assert dataset_hash(changed) != dataset_hash(a_dataset())


def test_any_name_that_a_file_can_have_can_be_hashed():
    first, *rest = a_dataset().videos
    odd = replace(a_dataset(), videos=(replace(first, id="caf\udce9"), *rest))
    assert dataset_hash(odd) != dataset_hash(a_dataset())


def test_two_folders_with_the_same_names_are_two_datasets(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").touch()
    first, second = (load_dataset(f"folder:{tmp_path / name}", None) for name in ("a", "b"))
    assert first.videos[0].id == second.videos[0].id
    assert dataset_hash(first) != dataset_hash(second)


def test_a_dataset_that_has_grown_finds_its_cache_again():
    grown = replace(a_dataset(), videos=a_dataset().videos[:1], captions=())
    assert dataset_key(grown) == dataset_key(a_dataset())
    assert cache_name(grown, a_fingerprint()) == cache_name(a_dataset(), a_fingerprint())
    since = a_fingerprint(vidret="9.9.9", dataset_hash=dataset_hash(grown))
    assert cache_name(grown, since) == cache_name(a_dataset(), a_fingerprint())


@pytest.mark.parametrize("change", [{"frames": 8}, {"precision": "bfloat16"}, {"backbone": "big"}])
def test_other_features_are_another_cache(change):
    other = cache_name(a_dataset(), a_fingerprint(**change))
    assert other != cache_name(a_dataset(), a_fingerprint())


def test_a_published_dataset_has_one_cache_wherever_it_lies_and_each_folder_its_own():
    one, other = a_dataset("/here"), a_dataset("/elsewhere")
    assert dataset_key(one) == dataset_key(other)
    mine, yours = (replace(dataset, name="folder") for dataset in (one, other))
    assert dataset_key(mine) != dataset_key(yours)
    assert cache_name(mine, a_fingerprint()) != cache_name(yours, a_fingerprint())


def test_the_name_of_a_cache_is_a_plain_one():
    odd = replace(a_dataset(), name="my clips/é:1")
    assert re.fullmatch(r"my-clips-1-f3-[0-9a-f]{12}", cache_name(odd, a_fingerprint()))
