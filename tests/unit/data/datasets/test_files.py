import os
import shutil

import pytest
from making.annotations import write_files

from vidret.data.datasets.files import DatasetFolder
from vidret.data.errors import ConfigError, MissingError
from vidret.data.synth.dataset import MINI_FOLDER

CLIP = next((MINI_FOLDER / "videos").iterdir())
OTHERS = ("txt", "csv", "json", "srt", "vtt", "jpg", "png", "webp", "wav", "m4a", "npy", "h5", "md")


def found(root, id_, *names):
    """The file that an id is given among some, by its name."""
    write_files(root, dict.fromkeys(names, b""))
    path = DatasetFolder(root).video(id_)
    return path and str(path.relative_to(root))


@pytest.mark.parametrize(
    ("id_", "file"),
    [
        ("video7", "video7.mp4"),
        ("video7", "video7.webm"),
        ("video7", "VIDEO.d/video7.MP4"),
        ("video7.mp4", "video7.mp4"),
        ("-4wsuPCjDBc_5_15", "-4wsuPCjDBc_5_15.avi"),
        ("_7KMZQEsJW4_205_208", "_7KMZQEsJW4_205_208.avi"),
        ("v_-aa", "v_-aa.mp4"),
        ("v_-aa", "-aa.mp4"),
        ("-aa", "v_-aa.mkv"),
        ("v_abc", "v_abc"),
        ("1012_U_00.05.16.065-00.05.21.941", "1012_U/1012_U_00.05.16.065-00.05.21.941.avi"),
        ("1@N00_2_a.mov", "1@N00_2_a.mov"),
        ("1@N00_2_a.mov", "1@N00_2_a.mp4"),
        ("1@N00_2_a.MOV", "1@N00_2_a.mp4"),
        ("1@N00_2_a.mov", "1@N00_2_a.mov.mp4"),
        ("1@N00_2_a.", "1@N00_2_a."),
        ("1@N00_2_a.", "1@N00_2_a.mp4"),
        ("1@N00_2_a.", "1@N00_2_a..mp4"),
        ("1@N00_2_a.null", "1@N00_2_a.avi"),
        ("name with blanks", "name with blanks.mp4"),
        ("à%03d:[x]*", "à%03d:[x]*.mp4"),
        ("v_a", "deep/in/many/folders/v_a.mp4"),
    ],
)
def test_an_id_is_given_its_file(tmp_path, id_, file):
    content = CLIP.read_bytes()
    write_files(tmp_path, {file: content, "other.mp4": content, "xv_a.mp4": content})
    path = DatasetFolder(tmp_path).video(id_)
    assert path == tmp_path / file


@pytest.mark.parametrize(
    ("id_", "file"),
    [
        ("video7", "video77.mp4"),
        ("video77", "video7.mp4"),
        ("video7", "myvideo7.mp4"),
        ("Video7", "video7.mp4"),
        ("1012_U_00.05.16.065-00.05.21.941", "1012_U_00.05.16.065-00.05.21.avi"),
        ("1012_U_00.05.16.065-00.05.21", "1012_U_00.05.16.065-00.05.21.941.avi"),
        ("video7", ".video7.mp4"),
        ("video7", ".hidden/video7.mp4"),
        ("video7", "@eaDir/video7.mp4"),
        ("video7", "video7.mp4.part"),
        ("video7", "video7.part"),
        ("video7", "video7/frame1.mp4"),
    ],
)
def test_an_id_is_not_given_the_file_of_another(tmp_path, id_, file):
    assert found(tmp_path, id_, file) is None


@pytest.mark.parametrize("ending", OTHERS)
def test_what_lies_beside_a_video_is_not_taken_for_it(tmp_path, ending):
    write_files(tmp_path, {f"video7.{ending}": b"RIFF\0\0\0\0WAVE"})
    assert found(tmp_path, "video7", "deeper/video7.mp4") == "deeper/video7.mp4"
    shutil.rmtree(tmp_path / "deeper")
    assert found(tmp_path, "video7") is None


@pytest.mark.parametrize("name", ["video7", "video7.bin", "video7.dat"])
def test_a_file_without_the_ending_of_a_video_is_one_by_its_content(tmp_path, name):
    assert found(tmp_path, "video7", name) is None
    shutil.copy(CLIP, tmp_path / name)
    assert found(tmp_path, "video7") == name


def test_a_file_with_the_ending_of_a_video_counts_whatever_is_in_it(tmp_path):
    assert found(tmp_path, "video7", "video7.avi") == "video7.avi"


def test_of_two_files_the_one_with_the_fuller_name_comes_before_the_nearer_one(tmp_path):
    assert found(tmp_path, "a.mov", "a.mp4", "deep/a.mov") == "deep/a.mov"
    assert found(tmp_path / "x", "v_a", "a.mp4", "deep/v_a.mp4") == "deep/v_a.mp4"


def test_of_two_files_of_one_name_the_nearer_one_counts_then_the_first(tmp_path):
    assert found(tmp_path, "a", "x/small/a.mp4", "y/a.mp4", "x/a.mp4") == "x/a.mp4"


def test_ids_with_two_files_are_told_with_both(tmp_path):
    write_files(tmp_path, {"x/a.mp4": b"", "y/a.mp4": b"", "y/b.mp4": b"", "b.txt": b""})
    folder = DatasetFolder(tmp_path)
    assert [folder.video(id_) for id_ in "ab"] == [tmp_path / "x/a.mp4", tmp_path / "y/b.mp4"]
    assert folder.doubled == ["a: x/a.mp4, y/a.mp4"]


def test_links_are_followed_and_two_names_of_one_file_are_no_choice(tmp_path):
    outside = tmp_path / "outside" / "real.avi"
    write_files(tmp_path, {"outside/real.avi": b"1"})
    root = tmp_path / "root"
    for folder in ("all", "test"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.avi").symlink_to(outside)
    os.link(outside, root / "b.avi")
    folder = DatasetFolder(root)
    assert folder.video("a") == root / "all" / "a.avi"
    assert folder.video("b") == root / "b.avi"
    assert folder.doubled == []


def test_a_link_to_a_folder_of_videos_is_looked_through(tmp_path):
    write_files(tmp_path, {"disk/a.avi": b""})
    root = tmp_path / "root"
    root.mkdir()
    (root / "videos").symlink_to(tmp_path / "disk")
    assert DatasetFolder(root).video("a") == root / "videos" / "a.avi"


def test_a_link_to_nothing_keeps_its_name_so_that_its_failure_is_told(tmp_path):
    (tmp_path / "a.avi").symlink_to(tmp_path / "gone.avi")
    assert DatasetFolder(tmp_path).video("a") == tmp_path / "a.avi"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_nameless_file_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "a").touch(mode=0)
    folder = DatasetFolder(tmp_path)
    assert folder.video("a") is None
    assert folder.unreadable == [f"{tmp_path / 'a'}: Permission denied"]


def test_a_pipe_in_the_place_of_a_video_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "a")
    assert DatasetFolder(tmp_path).video("a") is None


@pytest.mark.parametrize("name", ["x.json", "x.json.gz", "deep/x.json", "deep/x.json.gz"])
def test_an_annotation_file_is_found_by_its_name_wherever_it_lies(tmp_path, name):
    write_files(tmp_path, {name: [1]})
    source = DatasetFolder(tmp_path).find("y.json", "x.json")
    assert source is not None
    assert source.path == tmp_path / name
    assert source.suffix == ".json"


def test_the_first_name_that_is_there_counts(tmp_path):
    write_files(tmp_path, {"a.json": [1], "deep/b.json": [1]})
    source = DatasetFolder(tmp_path).find("b.json", "a.json")
    assert source is not None
    assert source.path == tmp_path / "deep" / "b.json"


def test_two_annotation_files_of_one_name_that_differ_are_refused_with_both(tmp_path):
    write_files(tmp_path, {"a/x.txt": "1", "b/x.txt": "2"})
    with pytest.raises(ConfigError, match=r"holds a/x\.txt and another b/x\.txt: name the folder"):
        DatasetFolder(tmp_path).find("x.txt")


def test_two_annotation_files_of_one_name_that_are_equal_are_no_fault(tmp_path):
    write_files(tmp_path, {"a/x.txt": "1", "b/x.txt": "1"})
    folder = DatasetFolder(tmp_path)
    assert folder.find("x.txt") is not None
    assert folder.choices == []


def test_of_two_that_differ_the_nearer_one_is_read_and_the_choice_is_told_once(tmp_path):
    write_files(tmp_path, {"x.txt": "1", "b/x.txt": "2"})
    folder = DatasetFolder(tmp_path)
    for _ in range(2):
        source = folder.find("x.txt")
        assert source is not None
        assert source.read() == b"1"
    assert folder.choices == ["x.txt is read, and b/x.txt, which differs, is not"]


def test_one_of_two_that_cannot_be_compared_is_refused(tmp_path):
    write_files(tmp_path, {"a/x.txt": "1"})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(MissingError, match=r"a/x\.txt and b/x\.txt, and one of them cannot be re"):
        DatasetFolder(tmp_path).find("x.txt")


@pytest.mark.parametrize("name", ["gone", "file"])
def test_a_root_that_is_no_folder_is_refused(tmp_path, name):
    write_files(tmp_path, {"file": b""})
    with pytest.raises(MissingError, match=f"{name} is no folder: give that of the dataset"):
        DatasetFolder(tmp_path / name)


def test_what_is_missing_is_told_with_what_should_be_there(tmp_path):
    with pytest.raises(MissingError, match=r"holds no a\.json or b\.json: it should hold all"):
        DatasetFolder(tmp_path).require("a.json", "b.json", holds="all that")


def test_a_root_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "msvd").mkdir()
    assert DatasetFolder(DatasetFolder(tmp_path).root / ".." / tmp_path.name).root.is_dir()
    assert DatasetFolder(tmp_path.__class__("~/msvd")).root == tmp_path / "msvd"
