import csv
import io
import json
import re
from dataclasses import replace

import pytest
from making.ablated import a_comparison, a_setting, a_table, some_scores

from vidret.data.errors import DamagedError, MissingError
from vidret.pipelines.ablation.comparing import COMPARED
from vidret.pipelines.ablation.report import AblatePlan, Failure, PlannedFit, Row
from vidret.pipelines.display.ablated import render_ablate, render_plan
from vidret.pipelines.display.ablation_files import write_ablation
from vidret.pipelines.display.ablation_forms import ablation_text
from vidret.pipelines.display.ablation_words import caption_of, protocol_line, share_text
from vidret.pipelines.display.tables import show

WIDTH = 80
PROTOCOL = (
    "toy, split test, 40 videos, 1,600 captions, protocol toy-multi; seeds 0, 1; "
    "epochs picked on val; chance R@1 2.50"
)
FORMS = ("markdown", "latex", "csv", "json")


def lines_of(rendered):
    out = io.StringIO()
    show(rendered, file=out)
    return out.getvalue().splitlines()


def shown(rendered):
    return " ".join(" ".join(lines_of(rendered)).split())  # wherever the lines break


def with_one_seed():
    table = a_table()
    rows = tuple(
        replace(row, scores=row.scores[:1], seeds=(0,), against_base={}) for row in table.rows
    )
    return replace(table, rows=rows, seeds=(0,))


def test_both_directions_show_mean_and_spread_and_the_distance_from_the_base():
    text = shown(render_ablate(a_table()))
    assert f"text to video: {PROTOCOL}" in text
    assert f"video to text: {PROTOCOL}" in text
    assert text.count("42.0 ± 2.8 60.0 ± 0.0") == 2
    assert text.count("+22.0 -1.3 to +40.0 93% 1 of 2") == 2
    assert "R@1 text to video, against base (any word_weight_scale)" in text
    assert "15.0 ± 7.1" in text  # of what sound decides


def test_a_table_off_a_terminal_keeps_to_eighty_columns():
    long = Row(
        head="mgfi+cmfi",
        scores=tuple(
            some_scores(100.0, rank=1234.5 + seed, kinds={"sound": 1.0}) for seed in range(3)
        ),
        changes=(("word_weight_scale", "learnable"), ("audio_weight_decay", 0.0001)),
        against_base=a_table().rows[1].against_base,
    )
    lines = lines_of(render_ablate(replace(a_table(), rows=(*a_table().rows, long))))
    assert max(map(len, lines)) <= WIDTH
    assert any("audio_weight_decay" in line for line in lines)  # names are not torn apart


def test_the_caption_says_what_the_intervals_cover_and_what_they_do_not():
    caption = caption_of(a_table())
    assert "Mean ± standard deviation over 2 seeds." in caption
    assert "10,000 draws, the seeds averaged first" in caption
    assert "they do not cover the seeds" in caption
    assert "A row with (any NAME) does not depend on that setting: it is made once." in caption


def test_one_seed_claims_no_spread_and_says_so():
    text = shown(render_ablate(with_one_seed()))
    assert "±" not in text
    assert "One seed: no spread" in text
    assert "seed 0;" in text


def test_a_table_of_one_row_compares_nothing():
    alone = replace(a_table(), rows=a_table().rows[:1])
    assert "R@1 text to video, against" not in shown(render_ablate(alone))
    assert "interval" not in ablation_text(alone, "markdown")


def test_epochs_picked_on_what_is_reported_make_an_oracle():
    for select_on in ("test", "val and test"):
        table = a_table(setting=a_setting(select_on=select_on))
        assert f"epochs picked on {select_on} (oracle)" in protocol_line(table)
        assert "Oracle:" in caption_of(table)
    assert "racle" not in protocol_line(a_table()) + caption_of(a_table())


def test_a_row_with_fewer_seeds_than_asked_for_says_which():
    base, other = a_table().rows
    table = a_table(rows=(base, replace(other, scores=other.scores[:1], seeds=(1,))))
    assert "w-f, word_weight_scale=sqrt_c: seed 1 alone, the others failed." in caption_of(table)


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.9999, ">99%"), (0.5, "50%"), (0.0001, "<1%"), (0.0, "0%")],
)
def test_nearly_all_is_not_called_all(share, text):
    assert share_text(share) == text


@pytest.mark.parametrize("form", ["table", *FORMS])
def test_every_form_carries_what_the_numbers_are_measured_on(form):
    text = shown(render_ablate(a_table(), form))
    facts = ("toy", "test", "toy-multi", "40", "val", "2.5", "0", "1")
    assert all(fact in text for fact in facts)
    assert re.search(r"1,?600", text)


def test_markdown_is_tables_whose_lines_have_as_many_cells_as_their_heads():
    text = ablation_text(a_table(), "markdown")
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        assert {len(row) for row in cells} == {10}
        assert re.fullmatch(r"\|:---\|(---:\|){9}", table.splitlines()[1])
    assert "| w-f, word\\_weight\\_scale=sqrt\\_c | **42.0** ± 2.8 | **60.0** ± 0.0 |" in text
    assert "| base (any word\\_weight\\_scale) | 20.0 ± 0.0 | **60.0** ± 0.0 |" in text
    assert "| **2.5** ± 0.7 | +22.0 | -1.3 to +40.0 | 93% | 1 of 2 |" in text


def test_a_name_with_signs_of_markdown_or_latex_stays_a_name():
    table = a_table(setting=a_setting(dataset=r"a_b|c&d%e#f$g{h}~i^j\k"))
    assert r"a\_b\|c&d%e#f$g{h}~i^j\\k" in ablation_text(table, "markdown")
    escaped = (
        r"a\_b|c\&d\%e\#f\$g\{h\}\textasciitilde{}i\textasciicircum{}j\textbackslash{}k, split"
    )
    assert escaped in ablation_text(table, "latex")


def test_latex_is_booktabs_whose_groups_close_and_whose_rows_fit_their_columns():
    text = ablation_text(a_table(), "latex")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for name in ("table*", "tabular"):
        assert body.count(rf"\begin{{{name}}}") == body.count(rf"\end{{{name}}}") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert body.count(rule) == 2
    plain = re.sub(r"\\[{}]", "", body)
    assert plain.count("{") == plain.count("}")
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
    assert not re.search(r"(?<!\\)[%#]|(?<!\\)_", body)
    columns = {len(spec) for spec in re.findall(r"\\begin{tabular}{(\w+)}", body)}
    rows = {len(re.split(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")}
    assert columns == rows == {10}
    assert body.isascii()


def test_latex_sets_the_best_in_bold_and_its_minus_as_a_minus():
    text = ablation_text(a_table(), "latex")
    assert r"w-f, word\_weight\_scale=sqrt\_c & \textbf{42.0} $\pm$ 2.8 &" in text
    assert r"base (any word\_weight\_scale) & 20.0 $\pm$ 0.0 &" in text
    assert r"& $+22.0$ & $-1.3$ to $+40.0$ & 93\% & 1 of 2 \\" in text


def test_csv_is_one_line_a_number_with_every_seed_and_the_distance_from_the_base():
    rows = list(csv.DictReader(io.StringIO(ablation_text(a_table(), "csv"))))
    chosen = {(row["head"], row["direction"], row["metric"]): row for row in rows}
    assert len(chosen) == len(rows)
    ours = chosen["w-f", "t2v", "R@1"]
    assert (ours["mean"], ours["values"], ours["seeds"]) == ("42.0", "40.0 44.0", "0 1")
    assert float(ours["std"]) == pytest.approx(8**0.5)
    assert (ours["difference"], ours["low"], ours["high"]) == ("22.04", "-1.26", "40.0")
    assert (ours["favour"], ours["seeds_ahead"]) == ("0.9312", "1")
    assert chosen["mean", "v2t", "MdR"]["difference"] == ""
    assert chosen["w-f", "t2v", "R@1 of sound"]["values"] == "10.0 20.0"
    assert {row["dataset"] for row in rows} == {"toy"}


def test_json_is_what_the_report_says_and_has_every_comparison():
    told = json.loads(ablation_text(a_table(), "json"))
    assert told == json.loads(json.dumps(a_table().as_json()))
    assert list(told["rows"][1]["against_base"]["v2t"]) == list(COMPARED)
    assert told["rows"][0]["against_base"] == {}
    assert told["rows"][1]["changes"] == {"word_weight_scale": "sqrt_c"}


def test_files_have_the_form_that_their_names_end_in(tmp_path):
    names = ("t.md", "t.TEX", "t.csv", "t.json", "t.txt")
    written = write_ablation(a_table(), out=[tmp_path / name for name in names], plot=None)
    assert [path.name for path in written] == list(names)
    for name, form in zip(names, ("markdown", "latex", "csv", "json"), strict=False):
        assert (tmp_path / name).read_text() == ablation_text(a_table(), form)
    assert (tmp_path / "t.txt").read_text().splitlines() == lines_of(render_ablate(a_table()))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "t.md").mkdir()
    with pytest.raises(MissingError, match=r"cannot write .*t.md: .*; all fits are kept"):
        write_ablation(a_table(), out=[tmp_path / "t.md"], plot=None)
    assert [path.name for path in tmp_path.iterdir()] == ["t.md"]


STARTS = {".svg": b"<?xml", ".png": b"\x89PNG\r\n", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", STARTS)
def test_a_plot_has_the_form_of_its_name_and_the_same_bytes_again(tmp_path, suffix):
    first, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, again):
        write_ablation(a_table(), out=None, plot=[path])
    assert first.read_bytes().startswith(STARTS[suffix])
    assert first.read_bytes() == again.read_bytes()


def test_a_plot_names_its_rows_and_what_it_is_measured_on(tmp_path):
    path = tmp_path / "table.svg"
    write_ablation(a_table(setting=a_setting(dataset="$a$ & <b>")), out=None, plot=[path])
    text = path.read_text()
    for words in (
        "w-f, word_weight_scale=sqrt_c",
        "base (any word_weight_scale)",
        "$a$ &amp; &lt;b&gt;, split test, 40 videos",
        "epochs picked on val; chance R@1 2.50",
        "95 % interval over test videos",
        "standard deviation of seeds",
    ):
        assert words in text


def test_one_row_of_one_seed_makes_a_plot_too(tmp_path):
    table = with_one_seed()
    write_ablation(replace(table, rows=table.rows[:1]), out=None, plot=[tmp_path / "a.svg"])
    text = (tmp_path / "a.svg").read_text()
    assert "deviation" not in text
    assert "interval" not in text


def test_a_plan_counts_what_is_done_and_what_is_not():
    fits = (
        PlannedFit(label="base", seed=0, run="a", state="done", in_table=True),
        PlannedFit(label="s-f", seed=0, run="b", state="begun", in_table=False),
        PlannedFit(label="s-f + a-s", seed=0, run="c", state="to fit", in_table=True),
        PlannedFit(label="base", seed=1, run="d", state="done", in_table=True),
    )
    text = shown(render_plan(AblatePlan(fits=fits, seeds=(0, 1))))
    assert "base done done" in text
    assert "s-f (first stage alone) begun -" in text
    assert text.endswith("4 fits: 2 done, 1 begun, 1 to fit. Nothing was fitted.")


def test_a_table_with_failures_ends_in_the_first_and_counts_the_others():
    first = Failure(label="w-f", seed=1, error=DamagedError("the loss is nan"))
    table = a_table(failures=(first, replace(first, seed=2)))
    verdict = table.verdict
    assert isinstance(verdict, DamagedError)
    assert str(verdict).startswith("w-f, seed 1: the loss is nan (1 more failed); ")
    assert table.as_json()["failures"][1] == {"row": "w-f", "seed": 2, "error": "the loss is nan"}
    assert a_table().verdict is None


def test_the_distance_from_the_base_is_that_of_its_own_direction():
    base, other = a_table().rows
    against = {
        "t2v": dict.fromkeys(COMPARED, a_comparison(difference=1.0)),
        "v2t": dict.fromkeys(COMPARED, a_comparison(difference=-2.0)),
    }
    text = shown(render_ablate(a_table(rows=(base, replace(other, against_base=against)))))
    assert text.index("+1.0 ") < text.index("video to text:") < text.index("-2.0 ")
