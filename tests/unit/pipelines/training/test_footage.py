import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from making.caches import AUDIO_DIM, DIM, a_fingerprint

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.manifest import Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState, DecodedVideo, Video, VideoEmbeddings, VideoFacts
from vidret.data.shards import write_video_shard
from vidret.data.synth.dataset import MINI_FOLDER
from vidret.extract.clip import load_clip
from vidret.extract.decode import Sampling, decode_video
from vidret.extract.planning.content import look_at_content
from vidret.pipelines.training.footage import Footage

FRAMES, PIXELS = 2, "pixels-00000.h5"


@dataclass(frozen=True)
class Filmed:
    """A cache, the videos that it was made from, and what a decoder made of each."""

    cache: Path
    videos: Path
    decoded: dict[str, DecodedVideo]

    def features(self):
        return FeatureCache.open(self.cache).load("all")


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny")


@pytest.fixture(scope="module")
def clips():
    """Some bundled clips, the first of them with sound, and what a decoder makes of them."""
    paths = sorted((MINI_FOLDER / "videos").iterdir())
    decoded = {path.name: decode_video(path, frames=FRAMES) for path in paths}
    heard = [name for name, video in decoded.items() if video.waveform is not None]
    mute = [name for name, video in decoded.items() if video.waveform is None]
    return {name: decoded[name] for name in [*heard[:2], *mute[:1]]}


@pytest.fixture
def filmed(tmp_path, clips):
    """A folder of videos and its cache, without pixels: the features are of no matter here."""
    videos, cache = tmp_path / "videos", tmp_path / "work" / "cache" / "filmed"
    videos.mkdir()
    cache.mkdir(parents=True)
    for name in clips:
        shutil.copy(MINI_FOLDER / "videos" / name, videos / name)
    rows = [a_row(videos / name, decoded) for name, decoded in clips.items()]
    manifest = Manifest(
        fingerprint=a_fingerprint(dataset="folder", frames=FRAMES),
        settings={"root": str(videos), "decoder": "av", "backbone": "tiny", "audio": "tiny"},
        splits={"all": SplitCount(videos=len(rows), captions=0)},
        shards=(write_video_shard(cache / "videos-00000.h5", rows, [], "abc"),),
        complete=True,
    )
    write_manifest(cache, manifest)
    return Filmed(cache, videos, dict(clips))


def a_row(path, decoded):
    size, content_hash = look_at_content(path)
    heard = decoded.waveform is not None
    return VideoEmbeddings(
        id=path.name,
        split="all",
        path=path.name,
        size=size,
        content_hash=content_hash,
        duration=decoded.duration,
        frames=np.zeros((len(decoded.frames), DIM), np.float32),
        times=decoded.times,
        indices=decoded.indices,
        audio=np.zeros(AUDIO_DIM, np.float32) if heard else None,
        audio_state=decoded.audio_state,
    )


def store(filmed, crops_of, *, side, names=None, with_sound=True, content=None):
    """List a pixel shard in the manifest that holds some of the videos, as `crops_of` makes them.

    `content` takes the place of the videos' hashes.
    """
    path = filmed.cache / PIXELS
    with new_pixel_shard(path, "pixels", side) as writer:
        for name in filmed.decoded if names is None else names:
            video = filmed.decoded[name]
            size, content_hash = look_at_content(filmed.videos / name)
            writer.begin(Video(id=name, path=filmed.videos / name, split="all"))
            if video.waveform is not None and with_sound:
                for part in np.array_split(video.waveform, 3):
                    writer.add_sound(part)
            for crop in crops_of(video):
                writer.add_picture(crop)
            facts = VideoFacts(
                times=video.times,
                indices=video.indices,
                num_frames=video.num_frames,
                duration=video.duration,
                audio_state=video.audio_state,
            )
            writer.finish(facts, path=name, size=size, content_hash=content or content_hash)
    manifest = read_manifest(filmed.cache)
    write_manifest(filmed.cache, replace(manifest, shards=(*manifest.shards, writer.entry)))


def prepared(clip):
    return lambda video: [clip.prepare(frame).numpy() for frame in video.frames]


def footage(filmed, clip, *, with_sound=True, memory=1 << 30):
    return Footage(
        clip,
        root=filmed.videos,
        sampling=Sampling(FRAMES),
        decoder="av",
        with_sound=with_sound,
        memory=memory,
    )


def fetch_all(filmed, clip, **changes):
    features = filmed.features()
    return footage(filmed, clip, **changes).fetch(features, range(len(features.paths)))


def require_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.pictures.dtype == torch.uint8
        assert torch.equal(one.pictures, other.pictures)
        assert (one.waveform is None) == (other.waveform is None)
        if one.waveform is not None:
            assert torch.equal(one.waveform, other.waveform)


def remove(folder):
    for path in folder.iterdir():
        path.unlink()


def test_stored_pixels_are_what_decoding_gives_to_the_bit(filmed, clip):
    decoded = fetch_all(filmed, clip)
    store(filmed, prepared(clip), side=clip.pixels.size)
    remove(filmed.videos)  # so that nothing could be decoded
    stored = fetch_all(filmed, clip)
    assert [shot.waveform is None for shot in stored] == [False, False, True]
    require_same(stored, decoded)


def test_sound_is_left_on_disk_where_nobody_asks_for_it(filmed, clip):
    store(filmed, prepared(clip), side=clip.pixels.size)
    remove(filmed.videos)
    shots = fetch_all(filmed, clip, with_sound=False)
    assert [shot.waveform for shot in shots] == [None] * 3


def test_what_no_pixel_shard_holds_is_decoded(filmed, clip):
    decoded = fetch_all(filmed, clip)
    first, second, third = filmed.decoded
    store(filmed, prepared(clip), side=clip.pixels.size, names=[third, first])
    (filmed.videos / first).unlink()
    (filmed.videos / third).unlink()
    require_same(fetch_all(filmed, clip), decoded)
    (filmed.videos / second).unlink()
    with pytest.raises(MissingError, match=f"{second} is not there"):
        footage(filmed, clip).require_files(filmed.features())


def black(side):
    return lambda video: [np.zeros((3, side, side), np.uint8) for _ in video.frames]


def test_pixels_of_another_file_are_not_taken(filmed, clip):
    decoded = fetch_all(filmed, clip)
    side = clip.pixels.size
    store(filmed, black(side), side=side, content="of a file that was replaced")
    require_same(fetch_all(filmed, clip), decoded)


def test_pixels_of_another_size_are_not_taken(filmed, clip):
    decoded = fetch_all(filmed, clip)
    store(filmed, black(8), side=8)
    require_same(fetch_all(filmed, clip), decoded)


def test_pixels_without_the_sound_that_is_asked_for_are_not_taken(filmed, clip):
    decoded = fetch_all(filmed, clip)
    side = clip.pixels.size
    store(filmed, black(side), side=side, with_sound=False)
    require_same(fetch_all(filmed, clip)[:2], decoded[:2])


def test_pixels_of_other_frames_are_not_taken(filmed, clip):
    decoded, side = fetch_all(filmed, clip), clip.pixels.size
    moved = {
        name: replace(video, indices=video.indices + 1) for name, video in filmed.decoded.items()
    }
    store(replace(filmed, decoded=moved), black(side), side=side)
    require_same(fetch_all(filmed, clip), decoded)


def test_of_many_stored_pictures_those_of_the_cache_are_taken(filmed, clip):
    decoded = fetch_all(filmed, clip)
    many = {}
    for name, video in filmed.decoded.items():
        frames, indices = [], []
        for frame, index in zip(video.frames, video.indices, strict=True):
            frames += [np.zeros_like(frame), frame]
            indices += [index - 1, index]
        times = np.array(indices) / 10
        many[name] = replace(video, frames=tuple(frames), indices=np.array(indices), times=times)
    store(replace(filmed, decoded=many), prepared(clip), side=clip.pixels.size)
    remove(filmed.videos)
    require_same(fetch_all(filmed, clip), decoded)


def test_videos_that_are_stored_need_not_be_there(filmed, clip):
    store(filmed, prepared(clip), side=clip.pixels.size)
    remove(filmed.videos)
    footage(filmed, clip).require_files(filmed.features())


@pytest.mark.parametrize(("content", "what"), [(None, "is not there"), (b"x", "is damaged")])
def test_a_listed_shard_that_cannot_be_used_is_named_with_the_command(filmed, clip, content, what):
    store(filmed, prepared(clip), side=clip.pixels.size)
    features, path = filmed.features(), filmed.cache / PIXELS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedError) as error:
        footage(filmed, clip).fetch(features, [0])
    said, _, command = str(error.value).partition(": make it again with ")
    assert said == f"{path} {what}"
    words = shlex.split(command.strip("`"))
    assert words[:2] == ["vidret", "extract"]
    assert words[-1] == "--pixels"
    assert words[words.index("--dataset") + 1] == f"folder:{filmed.videos}"
    assert words[words.index("--work") + 1] == str(filmed.cache.parent.parent)
    assert words[words.index("--frames") + 1] == str(FRAMES)


def test_a_shard_that_goes_while_it_is_in_use_is_named_too(filmed, clip):
    store(filmed, prepared(clip), side=clip.pixels.size)
    features, shots = filmed.features(), footage(filmed, clip, memory=0)
    shots.fetch(features, [0])
    (filmed.cache / PIXELS).unlink()
    with pytest.raises(DamagedError, match=r"pixels-00000\.h5 is not there.* --pixels"):
        shots.fetch(features, [0])


@pytest.mark.parametrize("stored", [True, False])
def test_what_fits_into_memory_is_read_once(filmed, clip, stored):
    if stored:
        store(filmed, prepared(clip), side=clip.pixels.size)
    features = filmed.features()
    most = footage(filmed, clip)
    first, second = most.fetch(features, [0, 1])
    shots = footage(filmed, clip, memory=first.bytes + second.bytes - 1)
    require_same(shots.fetch(features, [0, 1, 0]), [first, second, first])
    assert list(shots.kept) == features.paths[:1]
    assert shots.room == second.bytes - 1
    remove(filmed.videos)
    (filmed.cache / PIXELS).unlink(missing_ok=True)
    require_same(shots.fetch(features, [0]), [first])


def test_a_sound_that_the_cache_has_not_is_not_read(filmed, clip):
    store(filmed, prepared(clip), side=clip.pixels.size)
    features = filmed.features()
    deaf = replace(features, audio_state=[AudioState.FAILED] * len(features.paths))
    assert [shot.waveform for shot in footage(filmed, clip).fetch(deaf, range(3))] == [None] * 3


@pytest.mark.parametrize("same_size", [True, False])
def test_a_video_that_is_another_file_now_is_refused(filmed, clip, same_size):
    """One of the same length passes the first look, and is found when it is read."""
    path = filmed.videos / list(filmed.decoded)[1]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if same_size else b""))
    seen = footage(filmed, clip)
    if same_size:
        seen.require_files(filmed.features())
    with pytest.raises(MismatchError, match=rf"{path.name} is another file than when it was"):
        fetch_all(filmed, clip) if same_size else seen.require_files(filmed.features())
