import subprocess
import sys
from dataclasses import fields

import pytest

from vidret.data.errors import ConfigError
from vidret.heads.reranking.options import (
    DEFAULT_RERANK,
    RERANKERS,
    RerankOptions,
    find_reranker,
    needing_a_bank,
)

FLOATS = [one.name for one in fields(RerankOptions) if isinstance(one.default, float)]
NUMBERS = [one.name for one in fields(RerankOptions) if isinstance(one.default, int)]
BAD = [(name, value) for name in FLOATS for value in (0.0, -1.0, float("inf"), float("nan"))]
BAD += [(name, value) for name in NUMBERS for value in (0, -1)]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is {value}: give"):
        RerankOptions(**{name: value})


def test_every_setting_is_of_a_re_ranker_and_every_re_ranker_has_some():
    taken = {name for one in RERANKERS.values() for name in one.settings}
    assert taken == {one.name for one in fields(RerankOptions)}
    assert DEFAULT_RERANK.of(RERANKERS["nnn"]) == {"nnn_weight": 0.75, "nnn_neighbours": 128}


def test_the_tags_say_who_looks_at_the_other_test_queries():
    assert {name: one.tag for name, one in RERANKERS.items()} == {
        "qb-norm": "train-bank",
        "nnn": "train-bank",
        "sinkhorn-bank": "train-bank",
        "dsl": "transductive",
        "sinkhorn-full": "transductive",
    }
    assert needing_a_bank(["dsl", "nnn"]) == ["nnn"]


def test_a_name_that_nobody_has_is_refused_with_what_was_meant():
    words = "no re-ranker 'qbnorm': did you mean 'qb-norm'\\? The re-rankers are qb-norm, nnn,"
    with pytest.raises(ConfigError, match=words):
        find_reranker("qbnorm")


def test_naming_them_imports_neither_numpy_nor_torch():
    code = "import sys, vidret.heads.reranking.options; print({'numpy', 'torch'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
