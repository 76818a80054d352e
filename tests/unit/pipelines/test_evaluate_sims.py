import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.pipelines.cli import cli

NUMBERS = {"R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "ties", "queries"}
HEAVY = ("torch", "dask", "distributed", "rich", "h5py", "open_clip", "av")

# Captions 0 and 1 are of video 0, caption 2 of video 1, caption 3 of video 2; video 3 has none.
OWNERS = np.array([0, 0, 1, 2])
SCORES = np.array(
    [[0.9, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.1], [0.7, 0.3, 0.2, 0.8], [0.1, 0.2, 0.5, 0.5]]
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    for name in ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):  # what a command sets
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    np.save("sims.npy", SCORES.astype(np.float32))
    np.save("owners.npy", OWNERS)
    return tmp_path


def evaluate(*arguments, sims="sims.npy", protocol="pairs"):
    line = ["evaluate", "--sims", sims, "--protocol", protocol, *arguments]
    return CliRunner().invoke(cli, line, prog_name="vidret")


def report(*arguments, **options):
    result = evaluate("--json", *arguments, **options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(code, *arguments, **options):
    """The one sentence that a command ends with."""
    result = evaluate(*arguments, **options)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("vidret: ")


def saved(values, name="other.npy", **options):
    np.save(name, values, **options)
    return name


def test_the_numbers_of_a_file_are_those_of_its_matrix():
    told = report("--owners", "owners.npy")
    assert told["t2v"] == summarize(text_to_video_ranks(SCORES, OWNERS))
    assert told["v2t"] == summarize(video_to_text_ranks(SCORES, OWNERS))
    assert told["t2v"].keys() >= NUMBERS <= told["v2t"].keys()
    assert (told["protocol"], told["videos"], told["captions"]) == ("pairs", 4, 4)
    assert (told["sims"], told["owners"], told["v2t_by"]) == ("sims.npy", "owners.npy", "group")
    assert told["chance"] == 25
    assert [note[:24] for note in told["notes"]] == ["1 video without captions"]


def test_captions_compete_each_alone_where_that_is_asked_for():
    told = report("--owners", "owners.npy", "--v2t", "caption")
    assert told["v2t"] == summarize(video_to_text_ranks(SCORES, OWNERS, "caption"))
    assert told["v2t_by"] == "caption"


def test_without_owners_row_i_belongs_to_column_i():
    told = report()
    assert told["t2v"] == summarize(text_to_video_ranks(SCORES, np.arange(4)))
    assert told["owners"] is None


def test_a_split_of_another_size_is_noted_in_the_table_and_for_machines():
    notes = report(protocol="lsmdc-1k")["notes"]
    assert "lsmdc-1k was published with 1,000 videos, here are 4" in notes
    shown = " ".join(evaluate(protocol="lsmdc-1k").stdout.split())
    assert f"Note: {notes[0]}." in shown


def test_the_table_shows_both_directions_and_its_ground():
    shown = " ".join(evaluate("--owners", "owners.npy", "--v2t", "caption").stdout.split())
    assert "sims.npy: 4 videos, 4 captions, protocol pairs" in shown
    assert "R@1 R@5 R@10 R@50 MdR MnR queries tied" in shown
    assert "text to video 37.5 100.0 100.0 100.0 2.2 2.1 4 1" in shown
    assert "video to text" in shown
    assert "Chance R@1 is 25.00." in shown
    assert "against every caption of every other video." in shown


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_a_matrix_may_lie_in_any_order(dtype, lay):
    told = report("--owners", "owners.npy", sims=saved(lay(SCORES.astype(dtype))))
    assert told["t2v"] == summarize(text_to_video_ranks(SCORES.astype(dtype), OWNERS))


@pytest.mark.parametrize("dtype", ["u1", "i4", ">i8", "u8"])
def test_owners_may_be_any_whole_numbers(dtype):
    told = report("--owners", saved(OWNERS.astype(dtype)))
    assert told["t2v"] == summarize(text_to_video_ranks(SCORES, OWNERS))


def test_a_recall_below_what_was_asked_for_ends_with_6_after_the_table():
    result = evaluate("--fail-under", "R@1=50")
    assert result.exit_code == 6
    assert "text to video" in result.stdout
    assert result.stderr == "vidret: R@1 text to video of sims.npy is 37.5 on pairs, below 50.0\n"
    assert evaluate("--fail-under", "R@1=37.5").exit_code == 0


def test_a_limit_on_what_nobody_measures_is_refused_before_the_file_is_opened():
    assert "measured are R@1, R@5, R@10, R@50" in refused(2, "--fail-under", "R@3=1", sims="no.npy")


def test_nothing_heavy_is_imported():
    code = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY!r} if name in sys.modules], "end"))
from vidret.pipelines.cli import main
main()
"""
    line = ["evaluate", "--sims", "sims.npy", "--protocol", "pairs", "--owners", "owners.npy"]
    result = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, check=True
    )
    assert "text to video" in result.stdout
    assert result.stdout.splitlines()[-1] == "end"


def test_an_unknown_protocol_is_refused_with_all_that_are_known():
    sentence = refused(2, protocol="msvd")
    assert sentence.startswith("there is no protocol 'msvd': choose one of msvd-multi, msrvtt-1ka,")


@pytest.mark.parametrize("option", ["--sims", "--owners"])
def test_a_file_that_is_not_there_ends_with_4(option):
    assert "there is no file gone.npy" in refused(4, option, "gone.npy")


@pytest.mark.parametrize("option", ["--sims", "--owners"])
def test_a_folder_is_no_file(option, here):
    assert "cannot be opened (Is a directory)" in refused(4, option, here)


@pytest.mark.parametrize("option", ["--sims", "--owners"])
@pytest.mark.parametrize("content", [b"", b"1,2\n3,4\n", b"PK\x03\x04 an archive of arrays"])
def test_what_is_no_npy_is_refused(option, content, here):
    (here / "other.npy").write_bytes(content)
    assert "other.npy is no .npy file: write the array with numpy.save" in refused(
        2, option, "other.npy"
    )


@pytest.mark.parametrize("option", ["--sims", "--owners"])
@pytest.mark.parametrize("bytes_left", [7, 60, 135])
def test_a_file_that_ends_too_early_is_damaged(option, bytes_left, here):
    whole = (here / "sims.npy").read_bytes()
    (here / "other.npy").write_bytes(whole[:bytes_left])
    assert "save it again with numpy.save" in refused(5, option, "other.npy")


def test_a_header_that_claims_more_than_there_can_be_is_damaged(here):
    whole = (here / "sims.npy").read_bytes()
    huge = whole.replace(b"(4, 4), }" + b" " * 20, b"(99999999999, 99999999999), }")
    (here / "other.npy").write_bytes(huge)
    assert "other.npy cannot be read" in refused(5, sims="other.npy")


@pytest.mark.parametrize("option", ["--sims", "--owners"])
def test_objects_are_never_read(option, here):
    class Trap:
        def __reduce__(self):
            return (open, (str(here / "sprung"), "w"))

    saved(np.array([[Trap()]], dtype=object), allow_pickle=True)
    assert "holds Python objects, which could run code" in refused(2, option, "other.npy")
    assert not (here / "sprung").exists()


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_a_matrix_has_two_dimensions(shape):
    sentence = refused(2, sims=saved(np.zeros(shape, np.float32)))
    assert f"have the shape {shape}: give a matrix" in sentence


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_matrix_is_not_empty(shape):
    assert "nothing to rank" in refused(4, sims=saved(np.zeros(shape, np.float32)))


def test_float16_is_refused_for_the_ties_it_makes():
    sentence = refused(2, sims=saved(SCORES.astype(np.float16)))
    assert "of other.npy are float16, whose rounding makes ties that are not there" in sentence


@pytest.mark.parametrize("dtype", [int, bool, complex])
def test_other_numbers_are_refused(dtype):
    sentence = refused(2, sims=saved(SCORES.astype(dtype)))
    assert f"are {np.dtype(dtype).name}: give float32 or float64" in sentence


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_named_by_row_and_column(value):
    scores = SCORES.copy()
    scores[2, 3] = value
    sentence = refused(5, sims=saved(scores))
    assert f"in row 2 (text) and column 3 (video) is {value}, and 1 of the 16" in sentence


def test_a_matrix_that_is_not_square_needs_owners():
    sentence = refused(2, sims=saved(SCORES[:3]))
    assert "the matrix has 3 rows and 4 columns, and no owners" in sentence


@pytest.mark.parametrize("owners", [[0, 0, 1], [0, 0, 1, 2, 3]])
def test_owners_are_as_many_as_the_rows(owners):
    sentence = refused(5, "--owners", saved(np.array(owners)))
    assert f"{len(owners)} owners for 4 texts" in sentence


@pytest.mark.parametrize("stranger", [-1, 4])
def test_an_owner_has_a_column(stranger):
    sentence = refused(5, "--owners", saved(np.array([0, 0, stranger, 1])))
    assert f"text 2 belongs to video {stranger}, but" in sentence


@pytest.mark.parametrize("owners", [OWNERS.astype(float), OWNERS > 0, OWNERS[:, None], np.int64(1)])
def test_owners_are_one_whole_number_a_row(owners):
    assert "owners are one whole number a text" in refused(2, "--owners", saved(owners))


def test_a_name_that_no_screen_shows_is_spelt_out(here):
    (here / "o\x1bther.npy").write_text("none")
    assert r"o\x1bther.npy is no .npy" in refused(2, sims="o\x1bther.npy")
