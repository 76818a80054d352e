import re
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest

from vidret.data.errors import ConfigError
from vidret.data.synth.language import SOUND_NAMES, SOUNDING
from vidret.data.synth.script import (
    AMBIENCE,
    CAPTIONS_PER_CLIP,
    FEWEST_CLIPS,
    KINDS,
    SEGMENTS,
    SILENCE,
    write_script,
)
from vidret.data.synth.world import COLOURS, PLACES, PROPS, SHAPES, split_of


@pytest.fixture(scope="module")
def script():
    return write_script(270, 0)


@pytest.fixture(scope="module")
def large():
    return write_script(5400, 0)


def says(text, words):
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def mentions(text, scene):
    companion = scene.companion is None or says(text, PROPS[scene.companion])
    return (
        says(text, COLOURS[scene.colour])
        and says(text, SHAPES[scene.shape])
        and says(text, PLACES[scene.place])
        and companion
    )


def described(clip):
    """The one scene of a clip that fits all its captions."""
    scenes = [shot.scene for shot in clip.shots]
    (found,) = [scene for scene in scenes if all(mentions(text, scene) for text in clip.captions)]
    return found


def groups(script, kind):
    """Clips of a kind by split and described scene."""
    found = defaultdict(list)
    for clip in script:
        if clip.kind == kind:
            found[clip.split, described(clip)].append(clip)
    return list(found.values())


@pytest.mark.parametrize("clips", [54, 55, 62, 100, 540])
def test_every_clip_has_its_own_name_and_the_splits_their_share(clips):
    script = write_script(clips, 1)
    counts = Counter(clip.split for clip in script)
    assert [clip.id for clip in script] == [f"clip_{number:05d}" for number in range(clips)]
    assert counts["val"] == clips // 9
    assert counts["test"] == 3 * (clips // 9)
    assert counts.total() == clips


@pytest.mark.parametrize("clips", [54, 62, 270])
def test_a_third_of_every_split_is_of_each_kind(clips):
    counts = Counter((clip.split, clip.kind) for clip in write_script(clips, 5))
    for split in ("train", "val", "test"):
        of_kinds = [counts[split, kind] for kind in KINDS]
        assert max(of_kinds) - min(of_kinds) <= 2
        assert min(of_kinds) == sum(of_kinds) // 3


def test_the_same_seed_gives_the_same_script_and_another_one_does_not():
    assert write_script(60, 3) == write_script(60, 3)
    assert write_script(60, 3) != write_script(60, 4)


def test_one_clip_fewer_than_the_fewest_is_refused():
    with pytest.raises(ConfigError, match=r"53 clips.*ask for 54 or more"):
        write_script(FEWEST_CLIPS - 1, 0)


def test_a_large_set_can_be_written(large):
    assert len(large) == 5400
    assert len({clip.captions for clip in large}) == 5400
    assert any(shot.scene.companion for clip in large for shot in clip.shots)


@pytest.mark.parametrize("size", ["script", "large"])
def test_no_scene_is_described_twice_but_by_the_twins_of_a_group(request, size):
    script = request.getfixturevalue(size)
    of_kind = {kind: groups(script, kind) for kind in KINDS}
    scenes = [described(group[0]) for kind in KINDS for group in of_kind[kind]]
    assert len(scenes) == len(set(scenes))
    assert {len(group) for group in of_kind["event"]} == {1}
    assert {len(group) for kind in KINDS[1:] for group in of_kind[kind]} <= {2, 3, 4, 5}


def test_every_clip_shows_scenes_of_its_own_split_alone(script):
    for clip in script:
        assert {split_of(shot.scene) for shot in clip.shots} == {clip.split}


def test_what_only_fills_a_clip_is_never_described(large):
    told = {replace(described(clip), companion=None) for clip in large}
    for clip in large:
        if clip.kind == "event":
            fillers = {shot.scene for shot in clip.shots} - {described(clip)}
            assert len(fillers) == SEGMENTS - 1
            assert not fillers & told


def test_an_event_takes_a_turn_with_others_in_one_place(script):
    turns = set()
    for (clip,) in groups(script, "event"):
        scenes = [shot.scene for shot in clip.shots]
        turns.add(scenes.index(described(clip)))
        assert len(scenes) == SEGMENTS
        assert len({scene.place for scene in scenes}) == 1
        ends = [shot.end for shot in clip.shots]
        assert [shot.start for shot in clip.shots] == pytest.approx([0.0, *ends[:-1]])
        assert all(shot.end - shot.start < 0.4 * clip.seconds for shot in clip.shots)
    assert turns == set(range(SEGMENTS))


def test_twins_of_a_detail_differ_in_the_thing_that_turns_up_for_a_quarter(script):
    for group in groups(script, "detail"):
        props = [clip.visit.prop for clip in group]
        assert len(set(props)) == len(group) > 1
        for clip, prop in zip(group, props, strict=True):
            assert clip.visit.end - clip.visit.start == pytest.approx(clip.seconds / 4)
            assert 0 <= clip.visit.start < clip.visit.end <= clip.seconds + 1e-9
            assert prop != described(clip).companion
            assert all(says(text, PROPS[prop]) for text in clip.captions)
            others = [name for twin in props if twin != prop for name in PROPS[twin]]
            assert not any(says(text, others) for text in clip.captions)


def test_twins_of_a_sound_differ_in_what_is_heard_and_its_source_is_not_in_the_picture(script):
    for group in groups(script, "sound"):
        sources = [clip.sound for clip in group]
        assert len(set(sources)) == len(group) > 1
        for clip, source in zip(group, sources, strict=True):
            assert clip.visit is None
            assert all(shot.scene.companion != source for shot in clip.shots)
            assert all(says(text, SOUNDING[source] + SOUND_NAMES[source]) for text in clip.captions)


def test_sound_decides_nothing_in_the_other_kinds(script):
    loud = [words for source in PROPS for words in SOUNDING[source]]
    for clip in script:
        if clip.kind != "sound":
            assert not any(says(text, ["hear", "sound", *loud]) for text in clip.captions)


def test_some_clips_are_silent_some_have_no_sound_stream_some_only_a_room(script):
    sounds = Counter(clip.sound for clip in script if clip.kind != "sound")
    assert min(sounds[SILENCE], sounds[AMBIENCE], sounds[None]) > 5
    assert sum(sounds[source] for source in PROPS) > 0.4 * sounds.total()
    assert not {SILENCE, AMBIENCE, None} & {clip.sound for clip in script if clip.kind == "sound"}


def test_the_captions_of_a_clip_are_distinct(script):
    assert {len(set(clip.captions)) for clip in script} == {CAPTIONS_PER_CLIP}


def test_the_captions_of_a_set_open_in_many_ways(script):
    texts = [text for clip in script for text in clip.captions]
    openings = Counter(" ".join(text.split()[:2]) for text in texts)
    assert len(openings) > 60
    assert max(openings.values()) < 0.1 * len(texts)
    assert len(set(texts)) > 0.98 * len(texts)


def test_the_number_of_a_clip_says_nothing_about_its_kind(script):
    test = [clip.kind for clip in script if clip.split == "test"]
    changes = sum(one != other for one, other in pairwise(test))
    assert changes > len(test) / 3


def test_clips_last_some_seconds_at_rates_and_channels_of_real_files(script):
    assert all(4.5 < clip.seconds < 7.5 for clip in script)
    assert {clip.rate for clip in script} == {32_000, 44_100, 48_000}
    assert {clip.channels for clip in script} == {1, 2}
