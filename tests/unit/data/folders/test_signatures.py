import os
import sqlite3
import struct

import pytest
from making.containers import OTHERS, VIDEOS, write_containers

from vidret.data.folders.signatures import HEAD, holds_text, holds_video


@pytest.fixture(scope="module")
def containers(tmp_path_factory):
    """A folder with one file for each container, none of which has an extension."""
    folder = tmp_path_factory.mktemp("containers")
    write_containers(folder)
    return folder


@pytest.mark.parametrize("form", VIDEOS)
def test_a_video_is_told_by_its_content(containers, form):
    assert holds_video(containers / form)


@pytest.mark.parametrize("form", OTHERS)
def test_sound_alone_and_pictures_alone_are_no_videos(containers, form):
    assert not holds_video(containers / form)


@pytest.mark.parametrize("form", ["mp4", "mp4-movie-first", "mkv", "wmv", "ogv", "ts", "avi"])
def test_a_video_that_is_cut_short_is_still_one(containers, tmp_path, form):
    whole = (containers / form).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: max(800, len(whole) // 3)])
    assert holds_video(tmp_path / "cut")


def test_a_recording_that_begins_within_a_packet_is_a_video(containers, tmp_path):
    (tmp_path / "late").write_bytes((containers / "ts").read_bytes()[101:])
    assert holds_video(tmp_path / "late")


def box(kind, *content):
    inside = b"".join(content)
    return struct.pack(">I", 8 + len(inside)) + kind + inside


def track(handler):
    return box(b"trak", box(b"mdia", box(b"hdlr", b"\0" * 4 + b"mhlr" + handler + b"\0" * 12)))


@pytest.mark.parametrize("first", [b"", box(b"wide"), box(b"mdat", b"x" * 99), box(b"free")])
def test_old_quicktime_has_no_brand_and_is_told_by_its_tracks(tmp_path, first):
    for name, handlers in {"film": (b"soun", b"vide"), "song": (b"soun",)}.items():
        movie = box(b"moov", box(b"mvhd", b"\0" * 100), *map(track, handlers))
        (tmp_path / name).write_bytes(first + movie)
    assert holds_video(tmp_path / "film")
    assert not holds_video(tmp_path / "song")


def test_a_movie_header_in_a_box_of_64_bits_is_found(tmp_path):
    data = struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + b"x" * 50
    (tmp_path / "film").write_bytes(data + box(b"moov", track(b"vide")))
    assert holds_video(tmp_path / "film")


def brand(name, *after):
    return box(b"ftyp", name, b"\0\0\0\0", name) + b"".join(after)


LOOK_ALIKES = {
    "empty": b"",
    "zeros": bytes(9000),
    "heic": brand(b"heic", box(b"meta", b"\0" * 40), box(b"mdat", b"x" * 40)),
    "a picture of a brand to come": brand(b"abcd", box(b"meta", b"\0" * 40)),
    "avif": brand(b"avif", box(b"meta", b"\0" * 40)),
    "cr3": brand(b"crx ", box(b"moov", track(b"vide"))),
    "m4a": brand(b"M4A ", box(b"moov", track(b"soun"))),
    "m4b with pictures of its chapters": brand(b"M4B ", box(b"moov", track(b"vide"))),
    "sound under a common brand": brand(b"isom", box(b"moov", track(b"soun"))),
    "jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)) * 8,
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "zip": b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(range(256)),
    "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0",
    "a text that starts like GIF": b"GIF89a is the name of a format.\n" * 90,
    "a text that starts like a box": b"The free software of which we speak " * 200,
    "a text that starts like a movie": b"the moovie was long " * 300,
    "a text of one letter": b"G" * 9000,
    "genes": b">seq1\n" + b"GATTACAGGCT" * 900,
    "html": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
    "wav": b"RIFF\x24\x08\0\0WAVEfmt " + bytes(2000),
    "a start code and no more": b"\0\0\1\xb3",
    "json": b'{"video": "a.mp4"}',
    "EBML of another kind": bytes.fromhex("1a45dfa3") + b"\x84\x42\x82\x81x" + bytes(500),
    "a loop of boxes": brand(b"M4A ") + box(b"free") * 5000,
}


@pytest.mark.parametrize("content", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_a_look_alike_is_no_video(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert not holds_video(tmp_path / "file")


def test_a_database_is_no_video(tmp_path):
    base = sqlite3.connect(tmp_path / "base")
    base.execute("CREATE TABLE clips (name TEXT)")
    base.commit()
    base.close()
    assert (tmp_path / "base").stat().st_size > HEAD
    assert not holds_video(tmp_path / "base")


@pytest.mark.parametrize("form", ["mp4", "mkv", "wmv", "ogv", "mp4-of-sound", "mka", "wma", "ogg"])
def test_no_damage_to_the_first_bytes_raises(containers, tmp_path, form):
    whole = (containers / form).read_bytes()[:6000]
    file = tmp_path / "damaged"
    for at in range(0, 1200, 13):
        file.write_bytes(whole[:at] + b"\xff\0"[at % 2 : at % 2 + 1] * 9 + whole[at + 9 :])
        assert holds_video(file) in (True, False)


def test_a_pipe_is_no_video_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not holds_video(tmp_path / "pipe")


def test_what_cannot_be_opened_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        holds_video(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"export const a = 1;\n", True),
        ("é".encode() * HEAD, True),
        (b"x" + "€".encode() * HEAD, True),
        (b"\x47\x40\0\x10" * 50, False),
        (b"caf\xe9\n", False),
        (b"", False),
        (bytes(100), False),
    ],
)
def test_text_is_told_from_what_is_none(tmp_path, content, text):
    (tmp_path / "file").write_bytes(content)
    assert holds_text(tmp_path / "file") is text
