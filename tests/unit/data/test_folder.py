import json
import os
import socket
import time
import unicodedata
from pathlib import Path

import pytest
from making.clips import draw_clip

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folder import load_folder, root_of
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


def test_a_folder_without_videos_is_an_error_that_says_what_is_there(tmp_path):
    make(tmp_path, "readme.txt", "a.jpg")
    with pytest.raises(MissingError, match=r"holds no video, .*\.mov.*, only 2 other files: give"):
        load_folder(tmp_path)


def test_a_file_without_extension_or_with_a_foreign_one_is_told_by_its_content(tmp_path):
    draw_clip(tmp_path / "a.mp4", seconds=0.1, levels=())
    for name in ("clip", "v1.2", "b.mp3", "c.MP4_", "d.dat"):
        (tmp_path / name).write_bytes((tmp_path / "a.mp4").read_bytes())
    dataset = load_folder(tmp_path)
    assert ids(dataset) == ["a.mp4", "b.mp3", "c.MP4_", "clip", "d.dat", "v1.2"]
    assert dataset.notes == ()


def test_a_file_that_is_named_like_a_video_stays_whatever_it_holds(tmp_path):
    make(tmp_path, "empty.mp4")
    (tmp_path / "text.mkv").write_text("a letter")
    (tmp_path / "page.mov").write_text("<html>404</html>")
    (tmp_path / "zeros.ts").write_bytes(bytes(9000))
    (tmp_path / "dangling.avi").symlink_to("absent")
    (tmp_path / "itself.avi").symlink_to("itself.avi")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.ts")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.mp4"))
    dataset = load_folder(tmp_path)
    names = ["dangling.avi", "empty.mp4", "itself.avi", "page.mov", "pipe.mp4", "pipe.ts"]
    assert ids(dataset) == [*names, "socket.mp4", "text.mkv", "zeros.ts"]
    assert dataset.notes == ()


def test_what_is_no_video_is_passed_over_and_counted(tmp_path):
    make(tmp_path, "a.mp4", "notes.txt", "sub/picture.jpg", "sub/.hidden")
    (tmp_path / "song.flac").write_bytes(b"fLaC")
    (tmp_path / "gone").symlink_to("absent")
    os.mkfifo(tmp_path / "pipe")
    (note,) = load_folder(tmp_path).notes
    assert note == "passed over: 5 files that are no videos"


def test_a_program_in_typescript_is_no_video(tmp_path):
    make(tmp_path, "empty.ts")
    (tmp_path / "main.ts").write_text("export const greeting = 'hé';\n")
    (tmp_path / "main.mts").write_text("import './main'\n")
    dataset = load_folder(tmp_path)
    assert ids(dataset) == ["empty.ts"]
    assert dataset.notes == ("passed over: 2 files that are no videos",)


def test_a_download_that_is_under_way_is_passed_over_by_name(tmp_path):
    draw_clip(tmp_path / "a.mp4", seconds=0.1, levels=())
    (tmp_path / "b.tmp").write_bytes((tmp_path / "a.mp4").read_bytes())
    make(tmp_path, "c.mp4.part", "d.mkv.crdownload", "words.tmp")
    dataset = load_folder(tmp_path)
    assert ids(dataset) == ["a.mp4"]
    assert dataset.notes == (
        "passed over: 1 file that is no video",
        "passed over: 3 unfinished downloads (b.tmp ...)",
    )


def test_folders_of_other_programs_are_left_out(tmp_path):
    make(tmp_path, "a.mp4", "@eaDir/a.mp4/thumb.mp4", "vidret-work/synth/b.mp4", "lost+found/c.mp4")
    dataset = load_folder(tmp_path)
    assert ids(dataset) == ["a.mp4"]
    assert dataset.notes == ()


def test_a_folder_that_is_named_like_a_video_is_a_folder(tmp_path):
    make(tmp_path, "a.mp4/b.mp4")
    assert ids(load_folder(tmp_path)) == ["a.mp4/b.mp4"]


def test_a_link_gives_no_second_name_to_a_folder_below_the_root(tmp_path):
    make(tmp_path, "z/a.mp4", "z/deep/b.mp4")
    (tmp_path / "first").symlink_to("z")
    (tmp_path / "second").symlink_to("z/deep")
    assert ids(load_folder(tmp_path)) == ["z/a.mp4", "z/deep/b.mp4"]


def test_a_link_to_the_folder_above_leads_back_to_nothing_new(tmp_path):
    make(tmp_path, "root/a.mp4", "b.mp4")
    (tmp_path / "root" / "up").symlink_to("..")
    assert ids(load_folder(tmp_path / "root")) == ["a.mp4", "up/b.mp4"]


def test_odd_names_are_names(tmp_path):
    names = ["a\nb.mp4", 'it\'s "c".mp4', "%03d.mp4", os.fsdecode(b"\xff\xfe.mp4"), "e:f.mp4"]
    make(tmp_path, *names)
    assert ids(load_folder(tmp_path)) == sorted(names)


def test_what_cannot_be_read_is_noted_on_one_line(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4", *(f"odd\n{number:02}" for number in range(30)))

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    notes = load_folder(tmp_path).notes
    assert len(notes) == 21
    assert all("\n" not in note for note in notes)
    assert notes[-1] == "left out, because it cannot be read: 10 more"
    assert {note[-18:] for note in notes[:-1]} == {" Permission denied"}


@pytest.mark.slow
def test_a_folder_of_100_000_files_is_listed_in_seconds(tmp_path):
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
        for number in range(1000):
            os.close(os.open(tmp_path / str(folder) / f"{number}.mp4", os.O_CREAT))
    start = time.process_time()
    assert len(load_folder(tmp_path).videos) == 100_000
    assert time.process_time() - start < 5


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


def test_two_files_of_captions_are_refused_by_name(tmp_path):
    make(tmp_path, "a.mp4", "captions.csv", "captions.json")
    with pytest.raises(ConfigError, match=r"holds captions\.csv and captions\.json: keep one"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.jsonl", '{"video": "a.mp4", "caption": "x"}'),
        ("captions.json", '{"a.mp4": "x"}'),
        ("Captions.CSV", "video,caption\na.mp4,x\n"),
        ("captions.tsv", "video\tcaption\na.mp4\tx\n"),
        ("a.txt", "x\n"),
        ("a.mp4.txt", "\nx"),
    ],
)
def test_captions_are_found_in_every_form(tmp_path, name, content):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / name).write_text(content)
    dataset = load_folder(tmp_path)
    assert dataset.captions == (Caption(id="a.mp4#0", video_id="a.mp4", text="x"),)
    assert dataset.notes == ()


def test_captions_lie_in_the_folder_itself_and_not_below(tmp_path):
    make(tmp_path, "a.mp4", "sub/captions.csv")
    dataset = load_folder(tmp_path)
    assert dataset.captions == ()
    assert dataset.notes == ("passed over: 1 file that is no video",)


def test_texts_beside_videos_are_captions_in_the_order_of_the_videos(tmp_path):
    make(tmp_path, "sub/b.mp4", "a.mp4", "c.mkv")
    (tmp_path / "sub" / "b.txt").write_text("one\ntwo\n")
    (tmp_path / "a.mp4.TXT").write_text("three\n")
    dataset = load_folder(tmp_path)
    assert [(one.id, one.text) for one in dataset.captions] == [
        ("a.mp4#0", "three"),
        ("sub/b.mp4#0", "one"),
        ("sub/b.mp4#1", "two"),
    ]
    assert {video.split for video in dataset.videos} == {"all"}


def test_texts_beside_videos_do_not_count_where_a_file_has_the_captions(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", "b.txt")
    (tmp_path / "a.txt").write_text("from the text")
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,from the table\n")
    dataset = load_folder(tmp_path)
    assert [caption.text for caption in dataset.captions] == ["from the table"]
    assert dataset.notes == (
        "passed over: 2 texts beside videos, because captions.csv holds the captions",
    )


def test_a_text_that_could_belong_to_two_videos_is_refused(tmp_path):
    make(tmp_path, "a.mkv", "a.mp4", "a.txt")
    with pytest.raises(ConfigError, match=r"a\.txt may belong to a\.mkv or to a\.mp4: name it"):
        load_folder(tmp_path)


def test_two_texts_for_one_video_are_refused(tmp_path):
    make(tmp_path, "a.mp4", "a.mp4.txt", "a.txt")
    with pytest.raises(ConfigError, match=r"captions in a\.txt and in a\.mp4\.txt: keep one"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["sub/a.mp4", "sub/a", "sub/a.avi", "./sub/a.mp4", "sub\\a.mp4", " sub/a.mp4 ", "{root}/sub/a"],
)
def test_a_video_may_be_named_without_or_with_another_extension(tmp_path, name):
    make(tmp_path, "sub/a.mp4", "a.mkv")
    write_captions(tmp_path, {"video": name.format(root=tmp_path), "caption": "x", "split": "val"})
    dataset = load_folder(tmp_path)
    assert [caption.id for caption in dataset.captions] == ["sub/a.mp4#0"]
    assert [video.split for video in dataset.videos] == ["all", "val"]


def test_captions_that_name_a_video_in_two_ways_are_counted_together(tmp_path):
    make(tmp_path, "a.mp4")
    write_captions(tmp_path, {"video": "a", "caption": "x"}, {"video": "a.mp4", "caption": "y"})
    assert [caption.id for caption in load_folder(tmp_path).captions] == ["a.mp4#0", "a.mp4#1"]


def test_accents_are_the_same_however_a_system_stores_them(tmp_path):
    stored, typed = (unicodedata.normalize(form, "Tür.mp4") for form in ("NFD", "NFC"))
    make(tmp_path, stored)
    write_captions(tmp_path, {"video": typed, "caption": "x"})
    assert [caption.video_id for caption in load_folder(tmp_path).captions] == [stored]


def test_a_name_that_fits_two_videos_is_refused_with_both(tmp_path):
    make(tmp_path, "a.mkv", "a.mp4")
    (tmp_path / "captions.csv").write_text("caption,video\nx,a.mp4\ny,a\n")
    with pytest.raises(ConfigError, match=r"line 3, column 2: a may be a\.mkv or a\.mp4: write"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("b.mp4", r"did you mean sub/b\.mp4\?"),
        ("other/b.mp4", r"did you mean sub/b\.mp4\?"),
        ("song.mp3", "is there, but neither by its content nor by its name a video"),
        ("c.mp4.part", "is there, but unfinished"),
        ("quite another", "paths are relative to the folder"),
        ("two\nlines", r"no video two\\nlines below"),
    ],
)
def test_a_caption_of_no_video_says_what_is_there(tmp_path, name, hint):
    make(tmp_path, "sub/b.mp4", "song.mp3", "c.mp4.part")
    write_captions(tmp_path, {"video": name, "caption": "x"})
    with pytest.raises(MissingError, match=hint):
        load_folder(tmp_path)


def test_two_splits_in_a_table_are_refused_with_both_places(tmp_path):
    make(tmp_path, "a.mp4")
    (tmp_path / "captions.tsv").write_text("video\tcaption\tsplit\na\tx\ttest\na\ty\t\na\tz\tval\n")
    match = (
        r"line 4, column 3: a\.mp4 is in split val here and in test above \(.*line 2, column 3\)"
    )
    with pytest.raises(ConfigError, match=match):
        load_folder(tmp_path)


def test_a_name_that_is_not_utf8_can_have_captions(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    make(tmp_path, name)
    write_captions(tmp_path, {"video": name, "caption": "x"})
    assert [caption.video_id for caption in load_folder(tmp_path).captions] == [name]


def test_a_folder_has_one_name_and_a_link_keeps_its_own(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "far" / "off").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "far" / "off")
    monkeypatch.chdir(tmp_path / "a")
    assert root_of(Path("../a/./b")) == root_of(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert root_of(Path("link")) == tmp_path / "a" / "link"
    assert root_of(Path("b/../link")) == tmp_path / "a" / "link"
    assert root_of(Path("link/..")) == tmp_path / "far"  # as the system has it, and not `a`
    assert root_of(Path("gone/../b")) == tmp_path / "a" / "b"


def test_a_folder_without_a_file_is_not_said_to_hold_other_files(tmp_path):
    with pytest.raises(MissingError, match="holds no file: give the folder above the videos"):
        load_folder(tmp_path)
