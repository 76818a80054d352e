"""Laws of the synthetic set: they hold for every number of clips and every seed."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from vidret.data.synth.script import FEWEST_CLIPS, write_script
from vidret.data.synth.world import PROPS, Scene, split_of

sizes = st.integers(FEWEST_CLIPS, 120)
seeds = st.integers(0, 2**63 - 1)
slowly = settings(max_examples=4, deadline=None)


def shown(script):
    """The colours, shapes and places that each split shows together."""
    found = defaultdict(set)
    for clip in script:
        found[clip.split] |= {replace(shot.scene, companion=None) for shot in clip.shots}
    return found


@slowly
@given(sizes, seeds, sizes, seeds)
def test_splits_never_share_a_scene_whatever_the_sizes_and_seeds(clips, seed, others, other_seed):
    one, other = shown(write_script(clips, seed)), shown(write_script(others, other_seed))
    for split, scenes in one.items():
        assert {split_of(scene) for scene in scenes} == {split}  # so none is of the split `tiny`
        for elsewhere in other.keys() - {split}:
            assert not scenes & other[elsewhere]


@slowly
@given(sizes, seeds)
def test_equal_arguments_give_equal_scripts(clips, seed):
    assert write_script(clips, seed) == write_script(clips, seed)


@slowly
@given(sizes, seeds)
def test_whatever_a_caption_could_mean_belongs_to_one_clip_or_one_group(clips, seed):
    owners = defaultdict(list)
    for clip in write_script(clips, seed):
        if clip.kind != "event":
            owners[clip.split, clip.shots[0].scene].append(clip)
    for twins in owners.values():
        kinds = {clip.kind for clip in twins}
        assert len(kinds) == 1
        told = {clip.sound if kinds == {"sound"} else clip.visit.prop for clip in twins}
        assert len(told) == len(twins) >= 2


@given(st.sampled_from([*PROPS, None]))
def test_a_companion_never_moves_a_scene_to_another_split(companion):
    assert split_of(Scene("red", "star", "sea", companion)) == split_of(Scene("red", "star", "sea"))
