from dataclasses import replace
from pathlib import Path

import pytest
from making.filmed import FRAMES, copy_clips, write_filmed_cache

from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extract import run_extract, settle
from vidret.pipelines.extraction.estimate import TRIED_VIDEOS, estimate


def preview(work, **given):
    config = ExtractConfig(work=work, dataset="synth-mini", device="cpu", dry_run=True, **given)
    return run_extract(config, on_progress=lambda _: None)


@pytest.mark.parametrize("given", [{}, {"pixels": True, "sampling": "fps:5"}])
def test_the_disk_that_is_told_is_the_disk_that_is_taken(tmp_path, given):
    """Within a quarter: of so few videos, the headers of the files are a good part."""
    videos = copy_clips(tmp_path / "films")
    config = ExtractConfig(
        work=tmp_path / "work",
        dataset=f"folder:{videos}",
        frames=FRAMES,
        backbone="tiny",
        audio="tiny",
        device="cpu",
        dry_run=True,
        **given,
    )
    told = run_extract(config, on_progress=lambda _: None).estimate
    folder = write_filmed_cache(tmp_path / "work", videos, **given)
    taken = sum(path.stat().st_size for path in folder.glob("*.h5"))
    assert told.disk == pytest.approx(taken, rel=0.25)
    assert told.tried == TRIED_VIDEOS
    assert told.seconds > 0


def test_a_dry_run_writes_nothing(tmp_path):
    report = preview(tmp_path / "work")
    assert report.to_do == 18
    assert not (tmp_path / "work").exists()


def test_files_that_cannot_be_decoded_say_nothing_of_the_time(tmp_path):
    config = ExtractConfig(work=tmp_path, dataset="synth-mini", device="cpu")
    extraction = settle(config)
    videos = [replace(video, path=Path("/nowhere")) for video in extraction.dataset.videos]
    told = estimate(
        videos,
        [],
        config=config,
        fingerprint=extraction.fingerprint,
        encoders=extraction.encoders,
        workers=2,
    )
    assert told.seconds is None
    assert told.tried == 0
