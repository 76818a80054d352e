import json
import os

import pytest

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folder import load_folder
from vidret.data.samples import Caption


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write_captions(root, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (root / "captions.jsonl").write_text(text + "\n", encoding="utf-8")


def ids(dataset):
    return [video.id for video in dataset.videos]


def test_every_video_below_the_folder_is_found_in_order(tmp_path):
    make(tmp_path, "b.mp4", "a/näme with space.mkv", "a/deep/er/x.webm", "-dash.avi", "notes.txt")
    dataset = load_folder(tmp_path)
    assert ids(dataset) == ["-dash.avi", "a/deep/er/x.webm", "a/näme with space.mkv", "b.mp4"]
    assert [video.path for video in dataset.videos] == [tmp_path / id_ for id_ in ids(dataset)]
    assert {video.split for video in dataset.videos} == {"all"}
    assert dataset.captions == ()
    assert dataset.root == tmp_path


def test_extensions_are_known_in_any_case(tmp_path):
    make(tmp_path, "A.MP4", "b.Mov", "c.mp4.txt", "mp4", "d.3GP")
    assert ids(load_folder(tmp_path)) == ["A.MP4", "b.Mov", "d.3GP"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    make(tmp_path, "a.mp4", "._a.mp4", ".hidden.mp4", ".trash/b.mp4", "sub/.cache/c.mp4")
    assert ids(load_folder(tmp_path)) == ["a.mp4"]


def test_a_hidden_folder_above_the_root_hides_nothing(tmp_path):
    make(tmp_path, ".media/a.mp4")
    assert ids(load_folder(tmp_path / ".media")) == ["a.mp4"]


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    make(tmp_path, "elsewhere/x/a.mp4", "root/b.mp4")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere" / "x" / "back").symlink_to(tmp_path / "root")
    assert ids(load_folder(tmp_path / "root")) == ["b.mp4", "linked/a.mp4"]


def test_a_name_that_is_not_utf8_is_a_video_like_any_other(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    make(tmp_path, name)
    assert ids(load_folder(tmp_path)) == [name]


def test_a_relative_folder_gives_absolute_paths(tmp_path, monkeypatch):
    make(tmp_path, "clips/a.mp4")
    monkeypatch.chdir(tmp_path)
    (video,) = load_folder((tmp_path / "clips").relative_to(tmp_path)).videos
    assert video.path == tmp_path / "clips" / "a.mp4"


def test_a_missing_folder_is_missing(tmp_path):
    with pytest.raises(MissingError, match="absent is no folder"):
        load_folder(tmp_path / "absent")


def test_a_folder_without_videos_is_an_error_that_lists_the_extensions(tmp_path):
    make(tmp_path, "readme.txt")
    with pytest.raises(MissingError, match=r"holds no video .*\.mkv, \.mov, \.mp4"):
        load_folder(tmp_path)


def test_captions_belong_to_their_videos_in_the_order_of_the_lines(tmp_path):
    make(tmp_path, "a.mp4", "sub/b.mp4")
    write_captions(
        tmp_path,
        {"video": "sub/b.mp4", "caption": "a dog barks"},
        {"video": "a.mp4", "caption": "ein Tür\u2028quietscht"},
        "",
        {"video": "sub/b.mp4", "caption": "the dog again"},
    )
    assert load_folder(tmp_path).captions == (
        Caption(id="sub/b.mp4#0", video_id="sub/b.mp4", text="a dog barks"),
        Caption(id="a.mp4#0", video_id="a.mp4", text="ein Tür\u2028quietscht"),
        Caption(id="sub/b.mp4#1", video_id="sub/b.mp4", text="the dog again"),
    )


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path):
    make(tmp_path, "a.mp4")
    write_captions(tmp_path, '{"video": "a.mp4", "caption": "one\u2028two"}')
    assert load_folder(tmp_path).captions[0].text == "one\u2028two"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    make(tmp_path, "a.mp4")
    line = b'{"video": "a.mp4", "caption": "x"}\r\n'
    (tmp_path / "captions.jsonl").write_bytes(b"\xef\xbb\xbf" + line + line)
    assert len(load_folder(tmp_path).captions) == 2


def test_one_line_is_enough_to_give_a_video_its_split(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    write_captions(
        tmp_path,
        {"video": "a.mp4", "caption": "x", "split": "test"},
        {"video": "a.mp4", "caption": "y"},
        {"video": "b.mp4", "caption": "z"},
    )
    assert [video.split for video in load_folder(tmp_path).videos] == ["test", "all", "all"]


def test_a_line_may_say_what_decides_its_caption(tmp_path):
    make(tmp_path, "a.mp4")
    write_captions(
        tmp_path,
        {"video": "a.mp4", "caption": "x", "kind": "sound"},
        {"video": "a.mp4", "caption": "y"},
    )
    assert [caption.kind for caption in load_folder(tmp_path).captions] == ["sound", ""]


def test_two_splits_for_one_video_are_refused(tmp_path):
    make(tmp_path, "a.mp4")
    write_captions(
        tmp_path,
        {"video": "a.mp4", "caption": "x", "split": "test"},
        {"video": "a.mp4", "caption": "y", "split": "train"},
    )
    with pytest.raises(ConfigError, match=r"line 2: a\.mp4 is in split train here and in test"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '"a.mp4"',
        {"video": "a.mp4"},
        {"caption": "x"},
        {"video": "a.mp4", "caption": "x", "splt": "test"},
        {"video": "a.mp4", "caption": ["x"]},
        {"video": "a.mp4", "caption": " "},
        {"video": "a.mp4", "caption": "x", "split": ""},
        {"video": "a.mp4", "caption": "x", "split": None},
    ],
)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path, line):
    make(tmp_path, "a.mp4")
    write_captions(tmp_path, {"video": "a.mp4", "caption": "fine"}, line)
    with pytest.raises(ConfigError, match=r"captions\.jsonl, line 2"):
        load_folder(tmp_path)


def test_captions_that_are_not_utf8_are_refused(tmp_path):
    make(tmp_path, "a.mp4")
    (tmp_path / "captions.jsonl").write_bytes(b'{"video": "a.mp4", "caption": "\xe9"}')
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_folder(tmp_path)


def test_a_caption_of_a_video_that_is_not_there_is_refused_with_the_nearest_name(tmp_path):
    make(tmp_path, "clip_01.mp4")
    write_captions(tmp_path, {"video": "clip_01.mp", "caption": "x"})
    with pytest.raises(MissingError, match=r"line 1: no video clip_01\.mp below .*clip_01\.mp4\?"):
        load_folder(tmp_path)


def test_half_a_character_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "captions.jsonl").write_text('{"video": "a.mp4", "caption": "a \\ud800 dog"}\n')
    with pytest.raises(ConfigError, match=r"captions\.jsonl, line 1: caption is .*no text"):
        load_folder(tmp_path)
