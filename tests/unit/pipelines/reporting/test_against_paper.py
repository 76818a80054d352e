import pytest
from making.caches import a_fingerprint
from making.contents import a_run, a_setting, some_numbers

from vidret.pipelines.reporting.against_paper import compare_with_paper
from vidret.pipelines.reporting.deviations import Subject
from vidret.pipelines.training.runs import Origin


def compare(head, dataset, *, split="test", origin=None):
    facts = a_fingerprint(dataset=dataset)
    subject = Subject(
        run=a_run(head, fingerprint=facts, origin=origin),
        fingerprint=facts,
        backbone="tiny",
        setting=a_setting(dataset=dataset, split=split),
    )
    return compare_with_paper(subject, some_numbers())


def test_the_gap_is_this_run_less_the_paper():
    (row,) = compare("mgfi+cmfi", "msrvtt-9k").same_head
    assert row.published.numbers["R@1"] == 48.4
    assert row.gap == pytest.approx(
        {"R@1": 40 - 48.4, "R@5": 70 - 73.1, "R@10": 80 - 83.6, "MdR": 0.0, "MnR": 9.5 - 13.3}
    )


def test_numbers_that_the_paper_leaves_out_have_no_gap():
    (row,) = compare("s-f", "msrvtt-9k").same_head
    assert set(row.gap) == {"R@1", "R@5", "R@10"}


def test_other_heads_and_methods_stand_beside_without_a_gap():
    others = compare("mgfi+cmfi", "msvd").others
    assert {"CLIP4Clip", "X-Pool", "CLIP"} <= {row.published.row for row in others}
    assert all(row.gap == {} for row in others)


def test_of_two_rows_for_a_head_the_one_with_like_encoders_comes_first():
    frozen = compare("mean", "msvd").same_head
    assert [row.published.row for row in frozen] == ["CLIP", "CLIP4Clip"]
    origin = Origin(
        run="before",
        heads="",
        fingerprint=a_fingerprint(backbone_weights="before"),
        backbone="tiny",
        audio="tiny",
        e2e=True,
        unfreeze=["visual"],
        lr_clip=1e-6,
        lr_audio=1e-5,
    )
    tuned = compare("mean", "msvd", origin=origin).same_head
    assert [row.published.row for row in tuned] == ["CLIP4Clip", "CLIP"]


@pytest.mark.parametrize("dataset", ["synth-540-0", "lsmdc", "folder", "msrvtt-7k"])
def test_a_dataset_that_the_paper_does_not_have_is_said_so_and_has_no_gap(dataset):
    found = compare("mgfi+cmfi", dataset)
    assert found.reason.startswith(f"The paper has no numbers of {dataset}")
    assert (found.same_head, found.others) == ((), ())
    assert found.deviations


def test_a_head_that_the_paper_does_not_have_on_a_dataset_is_said_so():
    found = compare("s-f", "msvd")
    assert found.reason.startswith("The paper has no row for s-f on msvd")
    assert found.same_head == ()
    assert found.others


def test_the_papers_numbers_are_not_set_beside_those_of_another_split():
    found = compare("mgfi+cmfi", "msvd", split="val")
    assert "test split" in found.reason
    assert found.same_head == ()


def test_what_is_odd_about_the_paper_is_told():
    assert any("X-Pool's authors" in text for text in compare("mgfi", "msrvtt-9k").remarks)
