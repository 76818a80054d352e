"""`vidret extract` from clips to a cache, in this process."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from making.clips import draw_clip

from vidret.data.cache import FeatureCache
from vidret.data.samples import AudioState
from vidret.data.storage.locks import folder_lock
from vidret.data.upkeep.check import verify_cache
from vidret.extract.decode import decode_video
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.pipelines.cli import cli

TINY = ("--backbone", "tiny", "--audio", "tiny", "--workers", "1")
VARIABLES = ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")
CAPTIONS = (
    {"video": "b.mp4", "caption": "a pattern drifts"},
    {"video": "a.mp4", "caption": "a tone sounds while a pattern drifts"},
    {"video": "a.mp4", "caption": "colours move"},
)

pytestmark = pytest.mark.xdist_group("extract")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:  # what a command sets is taken back
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments], prog_name="vidret")


def extract(*arguments):
    result = run("extract", *arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with two clips and captions; one has sound, one has none."""
    films = tmp_path_factory.mktemp("films")
    draw_clip(films / "a.mp4", seconds=1.5)
    draw_clip(films / "b.mp4", seconds=0.2, levels=())
    lines = [json.dumps(caption) + "\n" for caption in CAPTIONS]
    (films / "captions.jsonl").write_text("".join(lines))
    return films


@pytest.fixture(scope="module")
def extracted(films, tmp_path_factory):
    """How a run ended, and its work folder, given as a relative path: only to look at."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        source = ("--dataset", f"folder:{films}", "--work", "deep/work", "--frames", 6)
        result = extract(*source, *TINY, "--json-progress")
    return result, home / "deep" / "work"


@pytest.fixture(scope="module")
def cache(extracted):
    (folder,) = (extracted[1] / "cache").iterdir()
    return FeatureCache.open(folder)


@pytest.fixture(scope="module")
def in_two_shards(films, tmp_path_factory):
    work = tmp_path_factory.mktemp("begun")
    extract("--dataset", f"folder:{films}", "--work", work, *TINY, "--shard-size", 1)
    return work


@pytest.fixture
def begun(in_two_shards, here):
    """A work folder of one's own, whose cache lacks the second of its two shards."""
    shutil.copytree(in_two_shards, here / "begun")
    (folder,) = (here / "begun" / "cache").iterdir()
    (folder / "videos-00001.h5").unlink()
    return folder


def test_what_is_cached_is_what_the_encoders_say(cache, films):
    encoders = load_encoders(EncoderSpec(backbone="tiny", audio="tiny", device="cpu", offline=True))
    decoded = decode_video(films / "a.mp4", frames=6, decoder="av")
    with torch.inference_mode():
        pictures = torch.stack([encoders.clip.prepare(frame) for frame in decoded.frames])
        frames = encoders.clip.encode_frames(pictures).numpy()
        sound = encoders.sound.encode(torch.from_numpy(decoded.waveform)).numpy()
        texts = encoders.clip.encode_texts([CAPTIONS[1]["caption"]], "cpu")[0]
    features = cache.load("all")
    assert features.video_ids == ["a.mp4", "b.mp4"]
    half = {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(features.frames[0], frames, **half)
    np.testing.assert_allclose(features.audio[0], sound, **half)
    np.testing.assert_array_equal(features.times[0], decoded.times)
    np.testing.assert_array_equal(features.indices[0], decoded.indices)
    row = features.text.index(CAPTIONS[1]["caption"])
    np.testing.assert_allclose(features.sentence[row], texts.sentence, **half)
    first, last = features.word_offsets[row : row + 2]
    np.testing.assert_allclose(features.words[first:last], texts.words, **half)
    assert features.owners[row] == 0


def test_a_short_clip_has_fewer_frames_and_no_copies(cache):
    features = cache.load("all")
    assert features.frame_mask.sum(1).tolist() == [6, 5]
    assert not np.asarray(features.frames[1])[5:].any()


def test_a_clip_without_sound_is_a_state(cache):
    features = cache.load("all")
    assert features.audio_state == [AudioState.OK, AudioState.NO_STREAM]
    assert not np.asarray(features.audio[1]).any()


def test_the_manifest_says_what_made_it(cache, films):
    facts = cache.fingerprint
    assert (facts.frames, facts.frame_policy, facts.dataset) == (6, "uniform", "folder")
    assert cache.manifest.settings["root"] == str(films)
    assert verify_cache(cache.folder) == []


def test_nothing_is_encoded_twice(films, cache):
    work = cache.folder.parents[1]
    before = {path: path.stat().st_mtime_ns for path in cache.folder.glob("*.h5")}
    report = json.loads(
        extract(
            "--dataset", f"folder:{films}", "--work", work, "--frames", 6, *TINY, "--json"
        ).stdout
    )
    assert (report["videos"], report["to_do"], report["failures"]) == (2, 0, [])
    assert {path: path.stat().st_mtime_ns for path in cache.folder.glob("*.h5")} == before


@pytest.mark.slow
def test_another_frame_count_is_another_cache_beside_it(films, cache, here):
    shutil.copytree(cache.folder, here / "cache" / cache.folder.name)
    extract("--dataset", f"folder:{films}", "--work", here, "--frames", 3, *TINY)
    assert sorted(path.name[:10] for path in (here / "cache").iterdir()) == [
        "folder-f3-",
        "folder-f6-",
    ]


@pytest.mark.slow
def test_both_decoders_fill_the_same_features(films, cache, here):
    extract(
        "--dataset", f"folder:{films}", "--work", here, "--frames", 6, "--decoder", "ffmpeg", *TINY
    )
    (folder,) = (here / "cache").iterdir()
    other = FeatureCache.open(folder)
    assert other.fingerprint.decoder.startswith("ffmpeg")
    one, two = cache.load("all"), other.load("all")
    np.testing.assert_array_equal(np.asarray(one.frames), np.asarray(two.frames))


def test_without_an_encoder_of_sound_there_is_none(films, here):
    silent = ("--backbone", "tiny", "--audio", "none", "--workers", "1")
    extract("--dataset", f"folder:{films}", "--work", here, *silent)
    (folder,) = (here / "cache").iterdir()
    features = FeatureCache.open(folder).load("all")
    assert features.audio.shape == (2, 0)
    assert features.audio_state == [AudioState.OK, AudioState.NO_STREAM]


def test_a_dry_run_does_nothing(films, here):
    result = extract("--dataset", f"folder:{films}", "--work", here, "--dry-run", *TINY)
    assert "to do: 2 videos" in result.stdout
    assert list(here.rglob("*.h5")) == []
    assert not (here / "cache").exists()


def test_a_dry_run_counts_what_is_left_of_a_cache_begun_with_other_shards(films, begun):
    source = ("--dataset", f"folder:{films}", "--work", begun.parents[1])
    assert "to do: 1 video" in extract(*source, *TINY, "--dry-run").stdout


@pytest.mark.slow
def test_a_begun_cache_keeps_its_shards(films, begun):
    source = ("--dataset", f"folder:{films}", "--work", begun.parents[1])
    result = extract(*source, *TINY, "--shard-size", 2)
    assert "begun with 1 videos in a shard: keeping that" in result.stderr
    with h5py.File(begun / "videos-00001.h5") as shard:
        assert shard["ids"].asstr()[:].tolist() == ["b.mp4"]
    assert verify_cache(begun) == []


def test_a_second_writer_is_told_who_writes(films, cache):
    arguments = ("--dataset", f"folder:{films}", "--work", cache.folder.parents[1], "--frames", 6)
    with folder_lock(cache.folder):
        result = run("extract", *arguments, *TINY)
    assert result.exit_code == 4
    assert "is being written by process" in result.stderr


def test_progress_for_machines_is_json_lines_and_nothing_else_is_said(extracted):
    """Dask and open_clip have loggers that like to talk."""
    result, _ = extracted
    states = [json.loads(line) for line in result.stderr.splitlines()]
    counts = [(one["done"], one["total"]) for one in states]  # also of a shard that is begun
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == ((0, 2), (2, 2))


def test_a_report_says_what_is_where(extracted):
    result, work = extracted
    (folder,) = (work / "cache").iterdir()
    assert "folder: 2 videos, 3 captions" in result.stdout
    assert "2 videos (2 tried in this run), 0 failed" in result.stdout
    assert f"-> deep/work/cache/{folder.name}" in result.stdout
