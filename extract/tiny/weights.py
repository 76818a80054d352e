"""Where the bundled weights lie, and whether they are as they were shipped."""

import json
from importlib.resources import files
from pathlib import Path

import xxhash

from vidret.data.errors import DamagedError, MissingError

TINY_FOLDER = Path(str(files("vidret.extract.tiny")))
CHECKSUMS = "weights.json"


def verify_weights(folder: Path = TINY_FOLDER) -> None:
    """Compare the bundled weights with their checksums.

    Raises:
        MissingError: a file is not there.
        DamagedError: a file has other bytes.
    """
    try:
        sums: dict[str, str] = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            found = xxhash.xxh3_128_hexdigest((folder / name).read_bytes())
            if found != expected:
                raise DamagedError(
                    f"{folder / name} has other bytes than shipped: install vidret again"
                )
    except FileNotFoundError as error:
        raise MissingError(f"{error.filename} is not there: install vidret again") from error
    except (ValueError, AttributeError) as error:
        raise DamagedError(
            f"{folder / CHECKSUMS} is no list of checksums ({error}): install vidret again"
        ) from error
