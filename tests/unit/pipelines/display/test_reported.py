import io
from pathlib import Path

import numpy as np
from making.contents import a_run, a_setting, some_contents, some_numbers

from vidret.heads.metrics import Ranks
from vidret.heads.streaming import BothRanks
from vidret.pipelines.display.reported import render_page
from vidret.pipelines.display.tables import show
from vidret.pipelines.report import PageReport
from vidret.pipelines.reporting.against_paper import compare_with_paper
from vidret.pipelines.reporting.against_run import compare_runs
from vidret.pipelines.reporting.deviations import Subject


def shown(**changes):
    out = io.StringIO()
    contents = some_contents(**changes)
    show(
        render_page(PageReport(page=Path("a/b.html"), bytes=1_250_000, contents=contents)), file=out
    )
    return " ".join(out.getvalue().split())


def against(head, dataset):
    run = a_run(head)
    setting = a_setting(dataset=dataset)
    subject = Subject(run=run, fingerprint=run.fingerprint, backbone="tiny", setting=setting)
    return compare_with_paper(subject, some_numbers())


def test_the_numbers_and_the_place_of_the_page_are_told():
    text = shown()
    assert "mine: toy, split test, 3 videos, 3 captions, protocol pairs" in text
    assert "text to video 40.0 70.0 80.0 99.0 2.0 9.5 3 0" in text
    assert text.endswith("page -> a/b.html (1.2 MB)")


def test_warnings_are_told():
    assert "! Beware." in shown(warnings=("Beware.",))


def test_the_gap_to_the_paper_is_told_with_its_table():
    text = shown(paper=against("mgfi+cmfi", "msvd"))
    assert "R@1 -13.5 against 53.5 (Ours, Table 3, ViT-B-32 fine-tuned)" in text
    assert "differs from the paper's setting in" in text


def test_where_the_paper_has_nothing_that_is_told_and_no_gap():
    text = shown(paper=against("mgfi+cmfi", "synth-54-0"))
    assert "The paper has no numbers of synth-54-0" in text
    assert "R@1 -" not in text
    assert "R@1 +" not in text


def test_the_difference_to_another_run_is_told_with_its_interval():
    ours = Ranks(better=np.array([0, 0, 3]), tied=np.zeros(3, np.int64))
    theirs = Ranks(better=np.array([0, 2, 1]), tied=np.zeros(3, np.int64))
    both, other = BothRanks(t2v=ours, v2t=ours), BothRanks(t2v=theirs, v2t=theirs)
    compared = compare_runs((a_run(), both), (a_run(name="yours"), other), np.arange(3))
    text = shown(other=compared)
    assert "R@1 +33.3 against yours (95 % interval 0.0 to +100.0)" in text
    assert "1 query found by this run alone, 0 by the other alone" in text


def test_videos_without_pictures_are_counted():
    assert "no pictures of 2 videos" in shown(absent={"a": "gone", "b": "gone"})
