"""Draw the clips that come with the package again: `python -m vidret.data.synth.ship`."""

import shutil
from dataclasses import replace
from pathlib import Path

from vidret.data.synth.dataset import MINI_FOLDER, draw_clips, load_synth, write_captions
from vidret.data.synth.script import FEWEST_CLIPS

SEED = 3_000_003  # not one that a user would draw with


def ship(folder: Path) -> None:
    """Draw the test split of the smallest set: six clips of each kind."""
    shutil.rmtree(folder, ignore_errors=True)
    whole, scripts = load_synth(folder, FEWEST_CLIPS, SEED)
    draw_clips([clip for clip in scripts if clip.split == "test"], folder)
    kept = {video.id for video in whole.videos if video.split == "test"}
    captions = tuple(caption for caption in whole.captions if caption.video_id in kept)
    write_captions(folder, replace(whole, captions=captions))


if __name__ == "__main__":
    ship(MINI_FOLDER)
