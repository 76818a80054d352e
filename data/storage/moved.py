"""Paths that were written down before their work folder was moved or copied."""

from pathlib import Path

FEWEST = 3  # names that a path and the one found in its place share: runs/NAME/FILE


def found_again(path: Path, work: Path) -> Path:
    """A path as it is, or where it is not there, what ends alike in a work folder, if anything."""
    if not path.is_absolute() or path.exists():
        return path
    names = path.parts[1:]
    ends = (work.joinpath(*names[start:]) for start in range(len(names) - FEWEST + 1))
    return next((end for end in ends if end.exists()), path)


def encoder_found_again(spec: str, work: Path) -> str:
    """An encoder, `NAME@FILE`, whose file may lie elsewhere now."""
    name, at, place = spec.partition("@")
    return f"{name}{at}{found_again(Path(place), work)}" if place else spec
