"""A folder laid out as MSVD, with clips of the synthetic set for videos."""

import json
import shutil
from pathlib import Path

from vidret.data.synth.dataset import load_synth_mini

SPLITS = {"train": 12, "val": 3, "test": 3}


def make_msvd(root: Path) -> None:
    """Lists, captions and videos, three kinds of clips in every split."""
    mini = load_synth_mini()
    texts: dict[str, list[str]] = {video.id: [] for video in mini.videos}
    kinds = {}
    for caption in mini.captions:
        texts[caption.video_id].append(caption.text)
        kinds[caption.video_id] = caption.kind
    (root / "YouTubeClips").mkdir(parents=True)
    for video in mini.videos:
        shutil.copy(video.path, root / "YouTubeClips" / video.path.name)
    (root / "captions_msvd.json").write_text(json.dumps(texts), encoding="utf-8")
    ids = iter(sorted(kinds, key=lambda name: (sorted(kinds).index(name) % 6, kinds[name])))
    for split, count in SPLITS.items():
        names = "".join(f"{next(ids)}\n" for _ in range(count))
        (root / f"{split}_list.txt").write_text(names, encoding="utf-8")
