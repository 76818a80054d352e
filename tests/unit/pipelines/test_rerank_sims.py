import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from making.hubs import planted_hubs
from oracles import rerankers as papers

from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.pipelines.cli import cli

HEAVY = ("torch", "dask", "distributed", "rich", "h5py", "open_clip", "av")
OWNERS, _, (SCORES, BANK, BANK_VIDEOS) = planted_hubs("t2v", videos=20)
FILES = ("--owners", "owners.npy", "--bank", "bank.npy", "--bank-videos", "bank-videos.npy")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    for name in ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):  # what a command sets
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    np.save("sims.npy", SCORES.astype(np.float32))
    np.save("owners.npy", OWNERS)
    np.save("bank.npy", BANK.astype(np.float32))
    np.save("bank-videos.npy", BANK_VIDEOS.astype(np.float32))
    return tmp_path


def evaluate(*arguments, files=FILES):
    line = ["evaluate", "--sims", "sims.npy", "--protocol", "multi-group", *files, *arguments]
    return CliRunner().invoke(cli, line, prog_name="vidret")


def report(*arguments, **options):
    result = evaluate("--json", *arguments, **options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def shown(*arguments, **options):
    result = evaluate(*arguments, **options)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def refused(code, *arguments, **options):
    result = evaluate(*arguments, **options)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("vidret: ")


def test_the_numbers_of_files_are_those_of_the_paper():
    s, bank, videos = (np.float64(np.float32(one)) for one in (SCORES, BANK, BANK_VIDEOS))
    told = report("--rerank", "nnn", "--nnn-weight", "0.4", "--nnn-neighbours", "3")
    (nnn,) = told["reranked"]["scores"]
    t2v = text_to_video_ranks(papers.nnn(s, bank, 0.4, 3), OWNERS)
    v2t = video_to_text_ranks(papers.nnn(s.T, videos.T, 0.4, 3).T, OWNERS)
    assert (nnn["t2v"], nnn["v2t"]) == (summarize(t2v), summarize(v2t))
    assert nnn["settings"] == {"nnn_weight": 0.4, "nnn_neighbours": 3}
    assert told["t2v"] == summarize(text_to_video_ranks(s, OWNERS)), "plain numbers stay plain"
    assert told["reranked"]["bank"] == {
        "source": "bank.npy and bank-videos.npy",
        "captions": 80,
        "videos": 80,
    }


def test_captions_compete_as_was_asked_for_in_re_ranked_rows_too():
    told = report("--rerank", "sinkhorn-full", "--v2t", "caption")
    plan = papers.sinkhorn_plan(np.float64(np.float32(SCORES)), 0.01, 10)
    wanted = summarize(video_to_text_ranks(plan, OWNERS, "caption"))
    assert told["reranked"]["scores"][0]["v2t"] == wanted


def test_every_row_carries_its_tag_and_the_table_says_what_tags_mean():
    text = shown("--rerank", "qb-norm,dsl")
    assert "Re-ranked: not the numbers of the head alone" in text
    assert "qb-norm train-bank t2v 100.0 100.0" in text
    assert "qb-norm train-bank v2t" in text
    assert "dsl transductive t2v" in text
    assert "dsl transductive v2t" in text
    assert "train-bank: each query is scored by itself" in text
    assert "transductive: each query is scored by means of all the other test queries" in text
    assert "Bank: 80 captions and 80 videos, bank.npy and bank-videos.npy." in text
    assert "Re-ranked" not in shown(files=FILES[:2])


def test_only_the_tags_that_are_there_are_explained():
    text = shown("--rerank", "dsl", files=FILES[:2])
    assert "train-bank" not in text
    assert "Bank:" not in text


def test_settings_that_are_not_the_published_ones_stand_below_the_table():
    text = shown("--rerank", "nnn,dsl", "--nnn-weight", "0.5")
    assert "Settings: nnn nnn_weight 0.5 (published 0.75)." in text
    assert "Settings" not in shown("--rerank", "nnn,dsl")


def test_a_reconstruction_says_so_in_the_table_and_for_machines():
    note = "sinkhorn-bank is a reconstruction: the formula of its paper was not at hand"
    assert report("--rerank", "sinkhorn-bank")["reranked"]["notes"] == [note]
    assert f"Note: {note}." in shown("--rerank", "sinkhorn-bank")
    assert "reconstruction" not in shown("--rerank", "qb-norm,nnn,dsl,sinkhorn-full")


def test_a_direction_without_a_bank_has_dashes_and_a_sentence():
    text = shown("--rerank", "nnn", files=FILES[:4])
    assert "nnn train-bank v2t - - - - - - -" in text
    assert "No bank was given for video to text." in text
    told = report("--rerank", "nnn", files=(*FILES[:2], *FILES[4:]))["reranked"]
    assert told["scores"][0]["t2v"] is None
    assert told["scores"][0]["v2t"]["queries"] == 20
    assert told["bank"]["captions"] is None


def test_similarities_that_are_no_cosines_are_noted():
    np.save("sims.npy", 100 * SCORES)
    (note,) = report("--rerank", "dsl", files=FILES[:2])["reranked"]["notes"]
    assert note.startswith(f"similarities reach {100 * SCORES.max():.1f}, and the settings")
    assert f"Note: {note}." in shown("--rerank", "dsl", files=FILES[:2])


def test_a_matrix_without_owners_is_re_ranked_by_its_diagonal():
    np.save("sims.npy", SCORES[::3])
    told = report("--rerank", "dsl", files=())["reranked"]["scores"][0]
    s = SCORES[::3]
    assert told["t2v"] == summarize(text_to_video_ranks(papers.dsl(s, 100.0), np.arange(20)))


@pytest.mark.parametrize("budget", ["1", "64"])
def test_any_memory_gives_the_same_numbers(budget):
    names = "qb-norm,nnn,sinkhorn-bank,dsl,sinkhorn-full"
    assert report("--rerank", names, "--mem-budget", budget) == report("--rerank", names)


def test_nothing_heavy_is_imported():
    code = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY!r} if name in sys.modules], "end"))
from vidret.pipelines.cli import main
main()
"""
    line = ["evaluate", "--sims", "sims.npy", "--protocol", "pairs", *FILES, "--rerank", "nnn,dsl"]
    result = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, check=True
    )
    assert "transductive" in result.stdout
    assert result.stdout.splitlines()[-1] == "end"


@pytest.mark.parametrize(
    ("arguments", "files", "words"),
    [
        (["--rerank", "qbnorm"], FILES, "rerank is 'qbnorm': did you mean 'qb-norm'?"),
        (["--rerank", "zzz"], FILES, "rerank is 'zzz': give qb-norm, nnn, sinkhorn-bank, dsl,"),
        (["--rerank", "dsl,dsl"], FILES, "rerank has dsl more than once"),
        (["--rerank", "dsl,nnn"], (), "rerank is nnn, which looks at training queries: add --bank"),
        (
            ["--rerank", "nnn", "--rerank-tune", "val"],
            FILES,
            "rerank_tune is val, and a matrix has no other split: leave it out",
        ),
        (["--rerank-tune", "val"], (), "rerank_tune is val, and nothing is re-ranked: add"),
        ([], FILES[2:4], "bank is bank.npy, and nothing is re-ranked: add --rerank"),
        ([], FILES[4:], "bank_videos is bank-videos.npy, and nothing is re-ranked: add --rerank"),
        (
            ["--rerank", "nnn", "--bank-size", "9"],
            FILES,
            "bank_size is 9, and the bank of a matrix",
        ),
        (["--rerank", "nnn", "--bank-size", "-1"], FILES, "bank_size is -1: give 0 (all) or more"),
        (["--rerank", "dsl", "--dsl-scale", "0"], FILES, "dsl_scale is 0.0: give a number above 0"),
        (
            ["--rerank", "nnn", "--nnn-neighbours", "0"],
            FILES,
            "nnn_neighbours is 0: give 1 or more",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_exit_2(arguments, files, words):
    assert refused(2, *arguments, files=files).startswith(words)


def test_a_run_takes_its_bank_from_its_cache():
    line = ["evaluate", "--rerank", "nnn", "--bank", "bank.npy"]
    result = CliRunner().invoke(cli, line, prog_name="vidret")
    assert result.exit_code == 2
    assert "bank is bank.npy, but only a matrix needs it: a run takes its bank" in result.stderr


def test_a_bank_of_other_videos_ends_with_5():
    np.save("bank.npy", BANK[:, :9])
    sentence = refused(5, "--rerank", "nnn")
    assert sentence.startswith("bank.npy has 9 videos in its columns, and 20 videos are ranked")


@pytest.mark.parametrize("option", ["--bank", "--bank-videos"])
def test_a_bank_that_is_not_there_ends_with_4(option):
    assert "there is no file gone.npy" in refused(4, "--rerank", "nnn", option, "gone.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_in_a_bank_is_named_and_ends_with_5(value):
    bank = BANK.copy()
    bank[7, 3] = value
    np.save("bank.npy", bank)
    sentence = refused(5, "--rerank", "nnn")
    assert sentence.startswith(f"row 7 (text) and column 3 (video) of bank.npy hold {value}")


def test_a_coarse_bank_is_refused():
    np.save("bank.npy", BANK.astype(np.float16))
    assert "of bank.npy are float16, whose rounding" in refused(2, "--rerank", "nnn")
