import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from making.caches import a_failure
from making.contents import (
    a_candidate,
    a_query,
    a_run,
    a_setting,
    an_epoch,
    some_contents,
    some_numbers,
)

from vidret.data.samples import Failure
from vidret.pipelines.reporting.against_paper import compare_with_paper
from vidret.pipelines.reporting.contents import Numbers, StageHistory, find_warnings
from vidret.pipelines.reporting.deviations import Subject
from vidret.pipelines.reporting.filmstrips import Strip
from vidret.pipelines.reporting.page import draw_page, gap_text, rank_text, readable
from vidret.pipelines.training.runs import AudioWeight

VOID = ("meta", "img", "br", "link", "input", "hr")
FOREIGN = ("path", "rect", "circle")  # closed by themselves inside a drawing
FETCHES = ("src", "srcset", "data", "poster", "background", "action")


class Page(HTMLParser):
    """A page taken apart; a tag that is not closed where it should be is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in FOREIGN
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(strips=None, **changes):
    return Page(draw_page(some_contents(**changes), strips or {}, seed=0))


def test_a_page_asks_no_other_host_for_anything_and_runs_nothing():
    text = draw_page(some_contents(hardest=(a_query(),)), {0: Strip(jpeg=b"x"), 1: Strip()}, seed=0)
    found = Page(text)
    assert not found.all("script")
    assert not found.all("link")
    assert not found.all("iframe")
    for _, attrs in found.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in FETCHES:
            assert attrs.get(name, "data:").startswith("data:")
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [one for one in found.all("meta") if one.get("http-equiv")]
    assert policy["content"].startswith("default-src 'none'")


def test_every_picture_has_words_and_every_table_has_headers():
    strips = {0: Strip(jpeg=b"x", width=9, height=3, times=(0.5, 1.5)), 1: Strip(absent="Gone.")}
    found = page(strips)
    (image,) = found.all("img")
    assert image["alt"] == "2 frames of v0, at 0.5, 1.5 seconds"
    assert all(one["aria-label"] for one in found.all("svg") if one.get("role") == "img")
    assert len(found.all("table")) <= len([one for one in found.all("th") if one["scope"]])
    assert all(one["scope"] in ("row", "col") for one in found.all("th"))


def test_headings_step_down_one_at_a_time():
    levels = [int(tag[1]) for tag, _ in page().tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_link_inside_the_page_leads_somewhere_and_no_name_is_there_twice():
    found = page(paper=against("msvd"))
    names = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(names) == len(set(names))
    inside = [one["href"][1:] for one in found.all("a") if one["href"].startswith("#")]
    assert inside
    assert set(inside) <= set(names)
    labelled = [attrs["aria-labelledby"] for _, attrs in found.tags if "aria-labelledby" in attrs]
    assert set(labelled) <= set(names)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</article></main><img src=https://example.org/x>",
        "\"quoted\" & 'so' &amp; {{ 7 * 7 }} {% raw %}",
        "🐕‍🦺 barks 👩‍👩‍👧",
        "كلب ينبح في الليل",
        "turned \u202egnp.exe",
    ],
)
def test_a_caption_may_hold_anything_and_is_shown_as_it_is(text):
    found = page(hardest=(a_query(text=text),))
    assert " ".join(text.split()) in found.text
    assert not found.all("script")
    assert all(one["src"].startswith("data:") for one in found.all("img"))


def test_names_of_videos_runs_and_kinds_are_escaped_too():
    bad = "<b>&\"'"
    query = a_query(kind=bad, caption=bad, right=a_candidate(video=bad, path=bad))
    numbers = Numbers(t2v=some_numbers(), v2t=some_numbers(), kinds={bad: some_numbers()})
    found = page(
        run=bad,
        hardest=(query,),
        numbers=numbers,
        setting=a_setting(dataset=bad, notes=(bad,)),
        failures=(Failure(id=bad, path=bad, stage="decode", reason=bad),),
        num_failures=1,
        warnings=(bad,),
    )
    assert not found.all("b")
    assert found.text.count(bad) >= 10


def test_names_of_videos_are_escaped_in_the_words_of_a_picture():
    query = a_query(right=a_candidate(video='" onerror="x'), rival=None)
    found = page({0: Strip(jpeg=b"x", times=(1.0,))}, hardest=(query,))
    (image,) = found.all("img")
    assert set(image) == {"class", "src", "width", "height", "alt"}
    assert '" onerror="x' in image["alt"]


def test_a_text_that_is_turned_around_turns_nothing_else():
    found = page(hardest=(a_query(text="كلب"),))
    assert {"dir": "auto"} in found.all("h3")
    assert found.all("bdi")


def test_bytes_that_are_no_text_are_spelt_out_and_can_be_written():
    shown = readable("a\udcff\x00\x1bb\nc")
    assert shown == "a\\udcff\\x00\\x1bb\nc"
    text = draw_page(some_contents(hardest=(a_query(text="a\udcff\x07"),)), {}, seed=0)
    assert b"a\\udcff\\x07" in text.encode("utf-8")


def test_a_video_without_pictures_has_a_card_that_says_why():
    found = page({0: Strip(absent="The video file is no longer there."), 1: Strip(jpeg=b"x")})
    assert "No pictures. The video file is no longer there." in found.text
    assert len(found.all("img")) == 1


def test_without_strips_there_are_neither_pictures_nor_cards():
    found = page()
    assert not found.all("img")
    assert "No pictures" not in found.text


def test_a_query_shows_its_rank_its_rival_and_the_parts_of_both_scores():
    query = a_query(rank=3.5, tied=1, kind="sound")
    text = page(hardest=(query,)).text
    assert "Rank 3.5 of 3, tied with 1. Decided by: sound." in text
    assert "Right: v0" in text
    assert "Ranked first: v1" in text
    assert text.count("+0.500 +0.250 +0.750") == 2


@pytest.mark.parametrize(
    ("rank", "label"), [(1.0, "Ranked next"), (1.5, "Scored the same"), (2.0, "Ranked first")]
)
def test_the_rival_is_called_what_it_is(rank, label):
    assert f"{label}: v1" in page(hardest=(a_query(rank=rank),)).text


def test_a_query_without_a_rival_shows_the_right_video_alone():
    text = page(hardest=(a_query(rival=None),)).text
    assert "Right: v0" in text
    assert "v1" not in text


def test_no_hard_query_is_said_so():
    assert "Every caption found its video first." in page(hardest=()).text
    text = Page(draw_page(some_contents(hardest=()), {}, seed=0, wants_hardest=False)).text
    assert "Every caption found its video first." not in text


def test_warnings_stand_above_the_numbers():
    text = page(warnings=("Beware of this.",)).text
    assert text.index("Beware of this.") < text.index("Numbers", text.index("Made with"))


def test_every_stage_has_three_charts_and_says_which_epoch_was_kept():
    stage = StageHistory(name="audio", kept=1, epochs=(an_epoch(1), an_epoch(2)))
    found = page(stages=(stage,))
    titles = [one["aria-label"] for one in found.all("svg") if one.get("role") == "img"]
    assert len([one for one in titles if one.startswith("Stage audio")]) == 3
    assert all("epoch 1 kept" in one for one in titles if one.startswith("Stage"))
    assert "Stage audio: epoch 1 of 2 kept" in found.text


def test_a_stage_that_counts_from_its_start_has_no_loss_there():
    epochs = ({"epoch": 0, "tau": 3.0, "R@1": 5.0, "MnR": 4.0}, an_epoch(1))
    found = page(stages=(StageHistory(name="video-text", kept=0, epochs=epochs),))
    assert "Loss, mean of an epoch. From 1 to 1." in found.text
    assert "From 5 to 10." in found.text


def test_a_head_with_nothing_to_learn_says_so():
    assert "This head has nothing to learn." in page(stages=()).text


def test_a_first_stage_of_another_run_is_told():
    stage = StageHistory(name="audio", kept=1, epochs=(an_epoch(1),))
    assert "in the report of that run" in page(head="mgfi+cmfi", stages=(stage,)).text
    assert "in the report of that run" not in page(head="mean+cmfi", stages=(stage,)).text


def test_a_weight_of_the_sound_that_was_found_stands_with_all_that_were_tried():
    tried = [{"weight": 0.5, "R@1": 20.0}, {"weight": 1.0, "R@1": 10.0}]
    text = page(audio_weight=AudioWeight(chosen=0.5, tried=tried)).text
    assert "The sound counts 0.5 in a score, found on val" in text
    assert "weight R@1 0.5 20.0 1 10.0" in text
    assert "Weight of the sound" not in page().text


def test_failures_are_listed_and_the_rest_is_counted():
    text = page(failures=(a_failure(7), a_failure(8)), num_failures=120).text
    assert "120 of the dataset could not be read, the first 2" in text
    assert a_failure(7).reason in text


def test_all_settings_the_whole_fingerprint_and_the_versions_are_there():
    contents = some_contents()
    text = page().text
    for name in (*contents.settings, *contents.fingerprint.to_json(), *contents.versions):
        assert name in text
    assert contents.fingerprint.dataset_hash in text


def test_what_a_fine_tuning_started_from_is_there():
    text = page(origin={"run": "before", "unfreeze": ["visual", "text"], "lr_clip": 1e-6}).text
    assert "Fine-tuned from" in text
    assert "visual, text" in text
    assert "1e-06" in text


def against(dataset):
    run = a_run("mgfi+cmfi")
    subject = Subject(
        run=run,
        fingerprint=run.fingerprint,
        backbone="tiny",
        setting=a_setting(dataset=dataset),
    )
    return compare_with_paper(subject, some_numbers())


def test_the_papers_row_the_gap_and_the_source_are_shown():
    found = page(head="mgfi+cmfi", setting=a_setting(dataset="msvd"), paper=against("msvd"))
    assert "gap -13.5 -11.0 -8.2 +1.0 +1.8" in found.text
    assert "Table 3" in found.text
    assert {one["href"] for one in found.all("a")} >= {"https://arxiv.org/abs/2407.12798"}
    assert "How this run is not the paper's" in found.text


def test_where_the_paper_has_nothing_no_gap_is_shown():
    text = page(paper=against("synth-54-0")).text
    assert "The paper has no numbers of synth-54-0" in text
    assert " gap -" not in text
    assert " gap +" not in text


@pytest.mark.parametrize(("gap", "text"), [(1.44, "+1.4"), (-0.04, "0.0"), (-2.0, "-2.0")])
def test_a_gap_has_a_sign_unless_it_is_none(gap, text):
    assert gap_text(gap) == text


@pytest.mark.parametrize(("rank", "text"), [(1.0, "1"), (2.5, "2.5"), (1234.0, "1,234")])
def test_a_rank_has_a_fraction_only_where_ties_give_one(rank, text):
    assert rank_text(rank) == text


def test_a_synthetic_set_and_an_oracle_are_warned_of():
    drawn = find_warnings(a_run(), a_setting(dataset="synth-540-0"))
    assert any("synthetic" in one for one in drawn)
    oracle = find_warnings(a_run(), a_setting(select_on="test"))
    assert any(one.startswith("Oracle") for one in oracle)
    assert find_warnings(a_run(), a_setting()) == ()


def test_a_head_that_learned_nothing_picked_no_epoch():
    assert find_warnings(a_run("mean", history={}), a_setting(select_on="test")) == ()
