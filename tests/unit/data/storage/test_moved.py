from pathlib import Path

from vidret.data.storage.moved import encoder_found_again, found_again


def test_what_a_moved_work_folder_took_along_is_found_in_it(tmp_path):
    here = tmp_path / "b" / "work" / "runs" / "mine" / "clip.safetensors"
    here.parent.mkdir(parents=True)
    here.touch()
    before = Path("/gone/a/work/runs/mine/clip.safetensors")
    assert found_again(before, tmp_path / "b" / "work") == here
    assert encoder_found_again(f"tiny@{before}", tmp_path / "b" / "work") == f"tiny@{here}"


def test_what_is_there_what_is_nowhere_and_what_is_no_path_stay(tmp_path):
    there = tmp_path / "there"
    there.touch()
    (tmp_path / "clip.safetensors").touch()
    gone = Path("/gone/clip.safetensors")  # shares no more than its own name
    assert found_again(there, tmp_path) == there
    assert found_again(gone, tmp_path) == gone
    for spec in ("tiny", "ViT-B-32@openai", "none"):
        assert encoder_found_again(spec, tmp_path) == spec
