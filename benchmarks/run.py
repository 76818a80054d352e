"""Run the benchmarks and write what they print into docs/benchmarks.md.

Without arguments all that need no GPU and no hour. With names, these: the other sections of the
page stay as they are.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from report import BUILD, ROOT

USUAL = ("decode", "extract", "memory", "float16", "annotations")
OTHERS = (
    "gpu",
    "scheduler",
    "ranks",
    "score",
    "search",
    "spread",
    "heads",
    "precision",
    "train",
    "finetune",
)  # a GPU, or their time, not every time
PAGE = ROOT / "docs" / "benchmarks.md"
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
CONTENDERS = BUILD / "contenders"
HEAD = """\
# Benchmarks

Written by `make bench`, which installs what vidret is compared with into `build/`, draws the files,
measures, and replaces the sections below; nothing here is edited by hand. Every section names its
command, and ends with the machine and the versions that it was measured with. All ways of a table
take turns in one run on the same files, so their ratios say more than their times. Other people's
tools are called as their own code calls them, each written anew in `benchmarks/contenders.py`.
"""


def main() -> None:
    """Install the contenders, then make one section after the other."""
    options = _parse()
    _install()
    for name in options.sections or USUAL:
        section = _run(name)
        page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD
        PAGE.write_text(with_section(page, name, section), encoding="utf-8")


def with_section(page: str, name: str, section: str) -> str:
    """The page with a section in the place of the older one, or behind all others."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    marked = f"{begin}\n{section.strip()}\n{end}\n"
    found = re.search(rf"{begin}\n.*?{end}\n", page, re.DOTALL)
    if found is None:
        return f"{page.rstrip()}\n\n{marked}"
    return page[: found.start()] + marked + page[found.end() :]


def with_command(printed: str, command: str) -> str:
    """What a benchmark printed, with the command that printed it under its heading."""
    heading, _, rest = printed.strip().partition("\n")
    return f"{heading}\n\n```\n{command}\n```\n{rest}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*USUAL, *OTHERS, []])
    return parser.parse_args()


def _install() -> None:
    """Beside the environment: a package here must not change what vidret is tested with."""
    wanted, made = REQUIREMENTS.read_text(), CONTENDERS / "requirements.txt"
    if made.exists() and made.read_text() == wanted:
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(CONTENDERS), "-r", str(REQUIREMENTS)], check=True)
    made.write_text(wanted)


def _run(name: str) -> str:
    sys.stderr.write(f"{name} ...\n")
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(CONTENDERS), *([before] if before else [])])
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(f"{name}.py"))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return with_command(finished.stdout, f"make bench ONLY={name}")


if __name__ == "__main__":
    main()
