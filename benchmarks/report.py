"""What every benchmark prints: Markdown, and what it says of the machine."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from vidret.extract.decode import decoder_version

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"
CLIPS = BUILD / "clips"

PACKAGES = (
    "vidret",
    "torch",
    "torchvision",
    "open_clip_torch",
    "panns_inference",
    "opencv-python-headless",
    "decord",
    "torchcodec",
    "dask",
    "distributed",
)


def show(text: str) -> None:
    """Print one part of the report."""
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """A number with about three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def verdict(found: float, asked: float) -> str:
    """Whether what was measured is what was asked for."""
    return "held" if found >= asked else "**missed**"


def mebibytes(size: float) -> str:
    """A number of bytes for a table."""
    return f"{size / 2**20:,.0f} MiB"


def show_machine() -> None:
    """Print the processor, the memory and the versions, without the machine's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = [
        f"{os.cpu_count()} cores of {_processor()}, {memory:.0f} GiB of memory",
        f"{platform.system()}, Python {platform.python_version()}",
        f"decoders: {decoder_version('av')}; {decoder_version('ffmpeg')}",
        ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    ]
    show("\n".join(f"- {fact}" for fact in facts))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
