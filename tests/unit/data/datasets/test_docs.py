import re
from pathlib import Path

import pytest

from vidret.data.catalog import DATASETS

PAGE = (Path(__file__).parents[4] / "docs" / "datasets.md").read_text("utf-8")
PUBLISHED = {name: entry.published for name, entry in DATASETS.items() if entry.published}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_dataset_has_its_row_with_the_counts_that_the_program_compares(name):
    published = PUBLISHED[name]
    (row,) = (line for line in PAGE.splitlines() if re.match(rf"\|.*\[`{name}`\]", line))
    for count in published.splits.values():
        assert f"{count.videos or count.captions:,}" in row
    assert f"| {published.splits['test'].captions:,}" in row
    assert f"`{published.protocol}`" in row


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_dataset_has_a_section_with_the_files_that_the_program_asks_for(name):
    (target,) = re.findall(rf"\[`{name}`\]\(#([a-z-]+)\)", PAGE)
    sections = {
        re.sub(r"[^a-z]+", "-", section.splitlines()[0].lower()): section
        for section in PAGE.split("\n## ")[1:]
    }
    files = re.findall(r"[\w.]+\.(?:json|pkl|csv)\b", " ".join(PUBLISHED[name].layouts))
    assert files
    for file in files:
        named = re.sub(r"_(train|val|test)\b", "_{train,val,test}", file)
        assert file in sections[target] or named in sections[target]
