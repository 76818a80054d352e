"""A small cache whose videos are there too: some of the bundled clips, in splits of their own."""

import json
import shutil
from pathlib import Path

from vidret.data.manifest import write_manifest
from vidret.data.synth.dataset import CAPTIONS_FILE, MINI_FOLDER
from vidret.extract.task import extract_captions, extract_videos, store_pixels
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extract import manifest_of, plan_of, settle, task_settings

CLIPS = {"train": (0, 1, 3, 4, 5, 6, 8, 9, 12, 14, 17), "val": (2, 7, 10, 15)}  # of each kind
FRAMES = 2


def copy_clips(folder: Path) -> Path:
    """A folder of videos and captions as a user would have it."""
    (folder / "videos").mkdir(parents=True)
    names = sorted(path.name for path in (MINI_FOLDER / "videos").iterdir())
    split_of = {names[number]: split for split, own in CLIPS.items() for number in own}
    for name in split_of:
        shutil.copy(MINI_FOLDER / "videos" / name, folder / "videos" / name)
    lines = []
    for line in (MINI_FOLDER / CAPTIONS_FILE).read_text().splitlines():
        row = json.loads(line)
        if split := split_of.get(Path(row["video"]).name):
            lines.append(json.dumps(row | {"split": split}) + "\n")
    (folder / CAPTIONS_FILE).write_text("".join(lines))
    return folder


def write_filmed_cache(
    work: Path, videos: Path, *, backbone="tiny", audio="tiny", frames=FRAMES, **more
) -> Path:
    """What `vidret extract` makes of a folder, without a process beside this one."""
    config = ExtractConfig(
        work=work,
        dataset=f"folder:{videos}",
        frames=frames,
        backbone=backbone,
        audio=audio,
        device="cpu",
        **more,
    )
    extraction = settle(config)
    extraction.folder.mkdir(parents=True)
    plan, pixels = plan_of(extraction)
    settings = task_settings(extraction)
    entries = [extract_videos(shard, settings).entry for shard in plan.videos]
    entries += [store_pixels(shard, settings).entry for shard in pixels.todo]
    entries += [extract_captions(shard, settings).entry for shard in plan.captions]
    manifest = manifest_of(extraction, plan, entries, complete=True)
    write_manifest(extraction.folder, manifest)
    return extraction.folder
