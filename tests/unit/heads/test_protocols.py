from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from making.annotations import real_annotations

from vidret.data.catalog import DATASETS
from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.folder import load_folder
from vidret.data.synth.dataset import PROTOCOL as SYNTH_PROTOCOL
from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.protocols import PROTOCOLS, find_protocol, score_protocol

REAL = "cap4video_titles_matrix.npy"

# Texts 0 and 1 belong to video 0, text 2 to video 1, text 3 to video 2; video 3 has none.
OWNERS = [0, 0, 1, 2]
SCORES = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6, 0.1],
        [0.7, 0.3, 0.2, 0.8],
        [0.1, 0.2, 0.5, 0.5],
    ]
)


@pytest.fixture(scope="module")
def real():
    return np.load(real_annotations("msrvtt") / REAL)


def test_the_real_matrix_has_its_known_results(real):
    scores = score_protocol(real, None, "msrvtt-1ka")
    t2v, v2t = scores.t2v, scores.v2t
    assert (t2v["R@1"], t2v["R@5"], t2v["R@10"], t2v["MdR"]) == (29.7, 55.8, 66.6, 4)
    assert t2v["MnR"] == pytest.approx(26.743, abs=5e-4)
    assert (t2v["ties"], t2v["queries"]) == (0, 1000)
    assert (v2t["R@5"], v2t["R@10"], v2t["MdR"]) == (54.9, 66.8, 4)
    assert v2t["MnR"] == pytest.approx(27.093, abs=5e-4)
    assert (v2t["ties"], v2t["queries"]) == (9, 1000)
    assert scores.notes == ()


def test_the_ties_of_the_real_matrix_lie_between_the_known_bounds(real):
    ranks = video_to_text_ranks(real, range(1000))
    first = replace(ranks, tied=np.zeros_like(ranks.tied))
    last = replace(first, better=ranks.better + ranks.tied)
    best, worst, expected = summarize(first), summarize(last), summarize(ranks)
    assert (best["R@1"], worst["R@1"]) == (28.4, 28.1)
    assert best["MnR"] == pytest.approx(27.087, abs=5e-4)
    assert worst["MnR"] == pytest.approx(27.099, abs=5e-4)
    assert worst["R@1"] < expected["R@1"] < best["R@1"]


@pytest.mark.parametrize(("dtype", "ties"), [(torch.float16, 117), (torch.bfloat16, 396)])
def test_coarse_rounding_would_make_ties_of_the_real_matrix(real, dtype, ties):
    rounded = torch.from_numpy(real).to(dtype)
    assert text_to_video_ranks(rounded.float(), range(1000)).ties == ties
    with pytest.raises(ConfigError, match="rounding makes ties"):
        score_protocol(rounded, None, "msrvtt-1ka")


def test_on_the_real_matrix_blocks_of_the_file_change_nothing(real):
    mapped = np.load(real_annotations("msrvtt") / REAL, mmap_mode="r")
    for by in ("group", "caption"):
        whole = summarize(video_to_text_ranks(real, range(1000), by))
        for memory in (2**14, 2**20, 2**26):
            assert score_protocol(mapped, None, "pairs", by, memory=memory).v2t == whole


def test_both_directions_are_those_of_the_whole_matrix():
    for by in ("group", "caption"):
        scores = score_protocol(SCORES, OWNERS, "multi-group", by)
        assert scores.t2v == summarize(text_to_video_ranks(SCORES, OWNERS))
        assert scores.v2t == summarize(video_to_text_ranks(SCORES, OWNERS, by))
        assert (scores.videos, scores.captions, scores.v2t_by) == (4, 4, by)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_counts_ranks_alike(name):
    scores = score_protocol(SCORES, OWNERS, name, "caption")
    assert scores.protocol == name
    assert scores.t2v == summarize(text_to_video_ranks(SCORES, OWNERS))
    assert scores.v2t == summarize(video_to_text_ranks(SCORES, OWNERS, "caption"))


def test_a_protocol_says_whom_captions_compete_with_unless_the_caller_does():
    assert score_protocol(SCORES, OWNERS, "multi-caption").v2t_by == "caption"
    assert score_protocol(SCORES, OWNERS, "multi-caption", "group").v2t_by == "group"
    assert score_protocol(SCORES, OWNERS, "msvd-multi").v2t_by == "group"


def test_the_worked_example_of_the_docs():
    """A tie for the first place, one below it, and a clear third one."""
    scores = np.array([[0.8, 0.8, 0.1], [0.6, 0.5, 0.2], [0.3, 0.9, 0.4]])
    found = score_protocol(scores, None, "pairs")
    assert text_to_video_ranks(scores, range(3)).values.tolist() == [1.5, 2, 2]
    assert video_to_text_ranks(scores, range(3)).values.tolist() == [1, 3, 1]
    assert found.t2v["R@1"] == pytest.approx(100 / 6)
    assert (found.t2v["MdR"], found.t2v["ties"]) == (2, 1)
    assert found.t2v["MnR"] == pytest.approx(11 / 6)
    assert found.v2t["R@1"] == pytest.approx(200 / 3)


def test_without_owners_row_i_belongs_to_column_i():
    assert score_protocol(np.eye(3), None, "pairs").t2v["R@1"] == 100
    assert score_protocol(np.eye(3)[::-1].copy(), None, "pairs").t2v["R@1"] == pytest.approx(
        100 / 3
    )


def test_without_owners_rows_and_columns_are_as_many():
    with pytest.raises(ConfigError, match="has 2 rows and 3 columns, and no owners"):
        score_protocol(np.zeros((2, 3)), None, "pairs")


def test_tensors_are_scored_as_arrays_are():
    scores = score_protocol(torch.tensor(SCORES, requires_grad=True), torch.tensor(OWNERS), "pairs")
    assert scores == score_protocol(SCORES, OWNERS, "pairs")


def test_an_unknown_protocol_is_refused_with_all_that_are_known():
    with pytest.raises(ConfigError, match=r"no protocol 'msvd': choose one of msvd-multi, msrvtt-"):
        find_protocol("msvd")


def test_a_split_of_another_size_is_noted():
    notes = score_protocol(np.eye(998), None, "msrvtt-1ka").notes
    assert notes == (
        "msrvtt-1ka was published with 1,000 videos, here are 998",
        "msrvtt-1ka was published with 1,000 captions, here are 998",
    )


def test_several_captions_are_noted_where_a_protocol_has_one():
    notes = score_protocol(SCORES, OWNERS, "lsmdc-1k").notes
    assert "lsmdc-1k has one caption a video, here a video has up to 2" in notes
    assert not any("one caption" in note for note in score_protocol(SCORES, OWNERS, "pairs").notes)


def test_distractors_compete_and_are_no_queries_and_are_noted():
    scores = score_protocol(SCORES, OWNERS, "pairs")
    assert scores.notes == (
        "1 video without captions: in text to video they compete, in video to text they are no "
        "queries",
    )
    assert scores.v2t["queries"] == 3
    without = score_protocol(SCORES[:, :3], OWNERS, "pairs")
    assert without.t2v["MnR"] < scores.t2v["MnR"]
    assert without.notes == ()


@pytest.mark.parametrize("by", ["group", "caption"])
def test_one_video_with_several_captions_is_always_found(by):
    scores = score_protocol(np.array([[0.1], [0.4], [0.4]]), [0, 0, 0], "pairs", by)
    for numbers, queries in ((scores.t2v, 3), (scores.v2t, 1)):
        assert (numbers["R@1"], numbers["MnR"], numbers["ties"]) == (100, 1, 0)
        assert numbers["queries"] == queries


@pytest.mark.parametrize("by", ["group", "caption"])
def test_more_videos_than_captions_are_no_trouble(by):
    matrix = np.array([[0.2, 0.9, 0.1, 0.0], [0.1, 0.3, 0.8, 0.7]])
    scores = score_protocol(matrix, [1, 3], "pairs", by)
    assert (scores.t2v["MnR"], scores.v2t["MnR"], scores.v2t["queries"]) == (1.5, 1, 2)


def test_a_constant_matrix_is_worth_what_guessing_is():
    scores = score_protocol(np.full((7, 7), 0.3, np.float32), None, "pairs")
    for numbers in (scores.t2v, scores.v2t):
        assert numbers["R@1"] == pytest.approx(100 / 7)
        assert (numbers["MdR"], numbers["MnR"], numbers["ties"]) == (4, 4, 7)


@pytest.mark.parametrize(
    ("matrix", "owners", "error"),
    [
        (SCORES, [0, 0, 1], MismatchError),
        (SCORES, [0, 0, 1, 4], MismatchError),
        (SCORES.astype(np.float16), OWNERS, ConfigError),
        (SCORES.astype(int), OWNERS, ConfigError),
        (np.where(SCORES == 0.9, np.nan, SCORES), OWNERS, DamagedError),
        (SCORES[:0], [], MissingError),
    ],
)
def test_what_cannot_be_ranked_is_refused(matrix, owners, error):
    with pytest.raises(error):
        score_protocol(matrix, owners, "pairs")


def test_the_counts_are_those_of_the_datasets():
    known = [entry.published for entry in DATASETS.values() if entry.published]
    assert len(known) > 7
    for published in known:
        protocol, test = PROTOCOLS[published.protocol], published.splits["test"]
        assert (protocol.videos, protocol.captions) == (test.videos, test.captions)
        assert protocol.one_caption == (test.videos == test.captions)


def test_every_dataset_names_a_protocol_that_there_is(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    (tmp_path / "a.txt").write_text("a film")
    assert {SYNTH_PROTOCOL, load_folder(tmp_path).protocol} <= PROTOCOLS.keys()


def test_the_docs_list_every_protocol_with_its_counts():
    page = (Path(__file__).parents[3] / "docs" / "protocols.md").read_text("utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    listed = {row[1].strip(" `"): row[3:5] for row in rows if len(row) == 7}
    counts = {
        name: ["" if count is None else f"{count:,}" for count in (one.videos, one.captions)]
        for name, one in PROTOCOLS.items()
    }
    assert {name: [cell.strip() for cell in cells] for name, cells in listed.items()} == counts


def test_a_protocol_is_listed_by_its_own_name():
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
