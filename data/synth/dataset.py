"""The synthetic set as a dataset: drawn into a folder once; a few clips come with the package."""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from vidret.data.errors import DamagedError, MissingError
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.storage.publish import publish
from vidret.data.synth.film import draw_clip
from vidret.data.synth.script import Clip, write_script

GENERATOR = 1  # goes up when the same number and seed would give other clips
CAPTIONS_FILE = "captions.jsonl"
MINI_FOLDER = Path(str(files("vidret.data.synth"))) / "mini"
PROTOCOL = "synth-multi"
NOTES = ("synthetic: a demonstration and a test bed, not a benchmark",)


def synth_folder(work: Path, clips: int, seed: int) -> Path:
    """Where a drawn set lies in a work folder."""
    return work / "synth" / f"v{GENERATOR}-{clips}-clips-seed-{seed}"


def load_synth(folder: Path, clips: int, seed: int) -> tuple[Dataset, list[Clip]]:
    """The set as it is or will be in `folder`, and the scripts of the clips still to be drawn."""
    script = write_script(clips, seed)
    dataset = Dataset(
        name=f"synth-{clips}-{seed}",
        root=folder,
        videos=tuple(
            Video(id=clip.id, path=_video_path(folder, clip), split=clip.split) for clip in script
        ),
        captions=tuple(caption for clip in script for caption in _captions(clip)),
        protocol=PROTOCOL,
        notes=NOTES,
    )
    return dataset, [clip for clip in script if not _video_path(folder, clip).exists()]


def draw_clips(clips: Iterable[Clip], folder: Path) -> int:
    """Draw clips into the folder of their set; return how many.

    Raises:
        MissingError: the folder cannot be written to.
    """
    try:
        (folder / "videos").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with --work"
        ) from error
    drawn = 0
    for clip in clips:
        draw_clip(clip, _video_path(folder, clip))
        drawn += 1
    return drawn


def write_captions(folder: Path, dataset: Dataset) -> None:
    """Write the captions beside the videos, in the form that `folder:PATH` reads."""
    videos = {video.id: video for video in dataset.videos}
    lines = []
    for caption in dataset.captions:
        video = videos[caption.video_id]
        row = {
            "video": video.path.relative_to(folder).as_posix(),
            "caption": caption.text,
            "split": video.split,
            "kind": caption.kind,
        }
        lines.append(json.dumps(row) + "\n")
    with publish(folder / CAPTIONS_FILE) as part:
        part.write_text("".join(lines), encoding="utf-8")


def load_synth_mini(folder: Path = MINI_FOLDER) -> Dataset:
    """The clips that come with the package: some of each kind, in one split.

    Raises:
        DamagedError: they are not as they were shipped.
    """
    try:
        lines = (folder / CAPTIONS_FILE).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DamagedError(
            f"the bundled clips in {folder} cannot be read ({error}): install vidret again"
        ) from error
    paths = {Path(row["video"]).stem: (folder / row["video"], row["split"]) for row in rows}
    return Dataset(
        name="synth-mini",
        root=folder,
        videos=tuple(
            Video(id=name, path=path, split=split) for name, (path, split) in paths.items()
        ),
        captions=tuple(
            Caption(
                id=f"{Path(row['video']).stem}#{number}",
                video_id=Path(row["video"]).stem,
                text=row["caption"],
                kind=row["kind"],
            )
            for number, row in enumerate(rows)
        ),
        protocol=PROTOCOL,
        notes=NOTES,
    )


def _captions(clip: Clip) -> list[Caption]:
    return [
        Caption(id=f"{clip.id}#{number}", video_id=clip.id, text=text, kind=clip.kind)
        for number, text in enumerate(clip.captions)
    ]


def _video_path(folder: Path, clip: Clip) -> Path:
    return folder / "videos" / f"{clip.id}.mp4"
