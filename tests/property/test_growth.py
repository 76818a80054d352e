"""Whatever happens to a dataset, and wherever a run is killed, the cache ends as it should."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from making.growing import Growing

from vidret.data.cache import FeatureCache
from vidret.data.manifest import read_manifest
from vidret.data.upkeep.check import verify_cache

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # many small files, all flushed

names = st.sampled_from([f"v{number}" for number in range(7)])
contents = st.sampled_from(["one", "two", "three", "bad", "bad file"])
texts = st.sampled_from(["a dog", "a cat", "rain"])
changes = st.one_of(
    st.tuples(st.just("put"), names, contents),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("move"), names, names),
    st.tuples(st.just("split"), names, st.sampled_from(["train", "test"])),
    st.tuples(st.just("say"), names, texts),
)
runs = st.fixed_dictionaries(
    {
        "changes": st.lists(changes, max_size=6),
        "kills": st.lists(st.sets(st.integers(0, 5)), max_size=2),
        "retry_failed": st.booleans(),
    }
)


def apply(growing, change):
    kind, name, *value = change
    path = growing.root / name
    if kind == "put":
        growing.put(**{name: value[0]})
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind == "move" and path.exists():
        path.rename(growing.root / value[0])
    elif kind == "split":
        growing.splits[name] = value[0]
    elif kind == "say":
        growing.captions[f"{name}#{value[0][:3]}"] = (name, value[0])
        growing.captions[f"{name}#0"] = (name, value[0])


def found(growing):
    """What a reader sees: each video's id, split and frames, and each caption's sentence."""
    cache = FeatureCache.open(growing.cache)
    seen = {}
    for split in cache.splits:
        features = cache.load(split)
        for row, id_ in enumerate(features.video_ids):
            seen[id_] = (split, features.paths[row], features.frames[row].tobytes())
        for row, id_ in enumerate(features.caption_ids):
            seen[id_] = (features.text[row], features.sentence[row].tobytes())
    return seen | {failure.id: failure.path for failure in cache.failures()}


@settings(max_examples=20, deadline=None)
@given(st.lists(runs, min_size=1, max_size=4))
def test_a_run_killed_anywhere_and_given_again_equals_one_that_was_not(history):
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        quiet, killed = (Growing(Path(name) / who, Path(name) / f"{who}-cache") for who in "qk")
        for number, run in enumerate(history):
            for one in (quiet, killed):
                one.generation = number
                for change in run["changes"]:
                    apply(one, change)
            quiet.extract(retry_failed=run["retry_failed"])
            for finished in run["kills"]:
                killed.extract(finished, retry_failed=run["retry_failed"])
            killed.extract(retry_failed=run["retry_failed"])
            assert killed.shards() == quiet.shards()
            assert read_manifest(killed.cache) == read_manifest(quiet.cache)


@settings(max_examples=20, deadline=None)
@given(st.lists(runs, min_size=1, max_size=4))
def test_a_cache_shows_just_what_its_dataset_has(history):
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        growing = Growing(Path(name) / "videos", Path(name) / "cache")
        for number, run in enumerate(history):
            growing.generation = number
            for change in run["changes"]:
                apply(growing, change)
            growing.extract()
            dataset = growing.dataset()
            bad = {v.id for v in dataset.videos if v.path.read_text().startswith("bad")}
            seen = found(growing)
            whole = {v.id for v in dataset.videos} | {
                c.id for c in dataset.captions if c.video_id not in bad
            }
            assert seen.keys() == whole
            for video in dataset.videos:
                if video.id not in bad:
                    assert seen[video.id][:2] == (video.split, video.id)
            assert growing.extract() == []
            assert verify_cache(growing.cache) == []
