"""Headers of MP4 and Matroska, made byte by byte."""

import pytest

from vidret.extract.decoding.headers import breaks_off, encrypted_tracks

EBML, SEGMENT, CLUSTER, BLOCK = (
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x1f\x43\xb6\x75",
    b"\xa3",
)
OPEN = b"\xff"  # a size that nobody knew when it was written


def box(kind, *contents, long=False):
    content = b"".join(contents)
    if long:
        return (1).to_bytes(4) + kind + (len(content) + 16).to_bytes(8) + content
    return (len(content) + 8).to_bytes(4) + kind + content


def track(*codecs, **form):
    entries = box(b"stsd", bytes(4), len(codecs).to_bytes(4), *(box(c, bytes(70)) for c in codecs))
    table = box(b"stbl", box(b"stts", bytes(8)), entries, **form)
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"minf", table)))


def element(id_, content, size=None):
    size = len(content).to_bytes(4).replace(b"\0", b"\x10", 1) if size is None else size
    return id_ + size + content


def written(path, content):
    path.write_bytes(content)
    return path


HEAD = element(EBML, b"matroska")
BLOCKS = [element(BLOCK, bytes(300)), element(BLOCK, bytes(5))]
FILMS = {
    "known": HEAD + element(SEGMENT, element(CLUSTER, b"".join(BLOCKS))),
    "live": HEAD + element(SEGMENT, element(CLUSTER, b"".join(BLOCKS), OPEN), OPEN),
    "live-with-known-clusters": HEAD + element(SEGMENT, element(CLUSTER, BLOCKS[0]), OPEN),
}
each_film = pytest.mark.parametrize("film", list(FILMS.values()), ids=list(FILMS))


# MP4


@pytest.mark.parametrize("form", [{}, {"long": True}])
def test_the_encrypted_tracks_are_numbered(tmp_path, form):
    tracks = [track(b"avc1", **form), track(b"enca", **form), track(b"encv", **form)]
    movie = box(b"moov", box(b"mvhd", bytes(100)), *tracks)
    film = box(b"ftyp", b"isom") + box(b"mdat", bytes(5000), **form) + movie
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == {1, 2}


def test_a_track_that_is_encrypted_from_some_point_on_is_encrypted(tmp_path):
    film = box(b"moov", track(b"avc1", b"encv"))
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == {0}


def test_a_name_within_the_pictures_says_nothing(tmp_path):
    film = box(b"mdat", box(b"moov", track(b"encv"))) + box(b"moov", track(b"avc1"))
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == frozenset()


def test_a_last_box_without_a_size_goes_on_to_the_end(tmp_path):
    movie = box(b"moov", track(b"encv"))
    film = bytes(4) + movie[4:]
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == {0}


def test_a_size_beyond_the_end_is_cut_there(tmp_path):
    film = (2**32 - 1).to_bytes(4) + box(b"moov", track(b"encv"))[4:]
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == {0}


@pytest.mark.parametrize("size", [2, 7])
def test_a_size_that_is_too_small_for_a_box_ends_the_search(tmp_path, size):
    film = size.to_bytes(4) + b"free" + box(b"moov", track(b"encv"))
    assert encrypted_tracks(written(tmp_path / "film.mp4", film)) == frozenset()


# Matroska


@each_film
def test_a_whole_film_does_not_break_off(tmp_path, film):
    assert not breaks_off(written(tmp_path / "film.mkv", film))


@each_film
@pytest.mark.parametrize("lost", [1, 4, 5])
def test_a_film_of_which_the_last_bytes_are_lost_breaks_off(tmp_path, film, lost):
    assert breaks_off(written(tmp_path / "film.mkv", film[:-lost]))


def test_a_film_that_ends_within_the_head_of_an_element_breaks_off(tmp_path):
    assert breaks_off(written(tmp_path / "film.mkv", FILMS["live"] + BLOCK))
    assert breaks_off(written(tmp_path / "film.mkv", FILMS["live"] + CLUSTER + b"\x01\xff"))


def test_what_lies_behind_the_film_is_not_looked_at(tmp_path):
    assert not breaks_off(written(tmp_path / "film.mkv", FILMS["known"] + b"\xa3\x90 more"))


@pytest.mark.parametrize("head", [b"\x00", b"\x01", b"\xa3\x00"])
def test_what_is_no_element_counts_as_damage(tmp_path, head):
    assert breaks_off(written(tmp_path / "film.mkv", FILMS["live"] + head + bytes(20)))
