"""Captions of one's own videos, in any of the forms that people have them in.

Every reader gives plain lines that know their place: each error names file, line and column.
"""

import csv
import io
import json
import re
from bisect import bisect
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.placed_json import (
    Placed,
    after_blanks,
    decode_list,
    decode_object,
    decode_one,
)
from vidret.data.printable import printable

REQUIRED = ("video", "caption")
FIELDS = (*REQUIRED, "split", "kind")

_LINE_ENDS = re.compile(r"\r\n?|\n")
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionLine:
    """One caption as a file has it, all of it unproven but the text itself.

    Args:
        video: how the file names the video.
        split: of the video, where the line gives it one.
        where: file and line, for errors.
        columns: of a table, to name the place of one field.
    """

    video: str
    caption: str
    split: str | None = None
    kind: str = ""
    where: str
    columns: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where a field stands, as exactly as the form of the file allows."""
        return f"{self.where}{_column(name, self.columns)}"


def read_captions(path: Path) -> list[CaptionLine]:
    """The lines of a file of captions, in its order; its name says which form it has.

    Raises:
        ConfigError: it is malformed.
        MissingError: it cannot be read.
    """
    return list(CAPTION_FORMS[path.name.lower()](path))


def read_json_lines(path: Path) -> Iterator[CaptionLine]:
    """One JSON object a line."""
    name = printable(path)
    # Not splitlines(): JSON allows characters inside a string that it takes for a line's end.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                values = decode_one(line)
            except json.JSONDecodeError as error:
                raise ConfigError(
                    f"{where}, column {error.pos + 1} is no JSON ({error.msg}): "
                    "write one object a line"
                ) from error
            yield _from_object(values, where)


def read_json(path: Path) -> Iterator[CaptionLine]:
    """A list of the same objects, or one object from videos to a caption or a list of them."""
    name, text = printable(path), _read_text(path)
    ends = [match.start() for match in re.finditer("\n", text)]

    def where(index: int) -> str:
        line = bisect(ends, index - 1)  # how many lines end before it
        column = index - (ends[line - 1] if line else -1)
        return f"{name}, line {line + 1}, column {column}"

    try:
        lines = _scan_captions(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where(error.pos)} goes wrong ({error.msg}): {EXAMPLE_JSON}") from error
    for index, values in lines:
        yield _from_object(values, where(index))


def read_csv(path: Path) -> Iterator[CaptionLine]:
    """A table with a header, its fields divided by commas (RFC 4180)."""
    return _read_table(path, ",")


def read_tsv(path: Path) -> Iterator[CaptionLine]:
    """A table with a header, its fields divided by tabs and quoted as in CSV."""
    return _read_table(path, "\t")


def read_sidecar(path: Path, video: str) -> Iterator[CaptionLine]:
    """The captions of one video from the text beside it: each line that is not blank.

    Raises:
        ConfigError: it is no text in UTF-8.
        MissingError: it cannot be read.
    """
    name = printable(path)
    for number, line in enumerate(_LINE_ENDS.split(_read_text(path)), start=1):
        if caption := line.strip():
            yield _checked({"video": video, "caption": caption}, f"{name}, line {number}", {})


CAPTION_FORMS: dict[str, Callable[[Path], Iterator[CaptionLine]]] = {
    "captions.jsonl": read_json_lines,
    "captions.json": read_json,
    "captions.csv": read_csv,
    "captions.tsv": read_tsv,
}
EXAMPLE = '{"video": "a.mp4", "caption": "a dog barks"}'
EXAMPLE_JSON = (
    f'write a list of objects such as {EXAMPLE}, or one object {{"a.mp4": ["a dog barks"]}}'
)


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise MissingError(
                f"{printable(path)} is no file: put the captions there, or remove it"
            )
        content = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{printable(path)} cannot be read: {error.strerror}") from error
    try:
        return content.decode().removeprefix(BOM_UTF8.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{printable(path)}, line {line} is not UTF-8 (byte {error.start} of the file, "
            f"{error.reason}): save it as UTF-8"
        ) from error


def _scan_captions(text: str) -> list[Placed]:
    """What each caption of `captions.json` says of itself, and where it stands."""
    start = after_blanks(text, 0)
    if text[start : start + 1] == "[":
        lines, end = decode_list(text, start)
    else:
        videos, end = decode_object(text, start)
        if end < len(text):
            raise json.JSONDecodeError("one object a line belongs into captions.jsonl", text, end)
        if set(REQUIRED) <= {video for _, video, _ in videos} <= set(FIELDS):
            raise json.JSONDecodeError("a single object wants a list around it", text, start)
        lines = [
            (at, {"video": video, "caption": caption})
            for start, video, value in videos
            for at, caption in (value if isinstance(value, list) else [(start, value)])
        ]
    if end < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return lines


def _from_object(values: object, where: str) -> CaptionLine:
    if not isinstance(values, dict) or not set(REQUIRED) <= values.keys() <= set(FIELDS):
        form = f'{EXAMPLE}, with or without "split" and "kind"'
        raise ConfigError(f"{where} is not of the form {form}{_odd_keys(values)}")
    return _checked(values, where, {})


def _odd_keys(values: object) -> str:
    """What an object has too little or too much of."""
    if not isinstance(values, dict):
        return ""
    if absent := [name for name in REQUIRED if name not in values]:
        return f": it has no {' and no '.join(absent)}"
    odd = next(name for name in values if name not in FIELDS)
    close = get_close_matches(odd, FIELDS, n=1, cutoff=0.7)
    return f": it has {odd!r:.100}, {f'did you mean {close[0]!r}?' if close else 'take it out'}"


def _read_table(path: Path, divider: str) -> Iterator[CaptionLine]:
    rows = _rows(path, divider)
    where, header = next(rows, (f"{printable(path)}, line 1", []))
    columns = _columns(header, where, divider)
    for where, row in rows:
        if len(row) != len(columns):
            raise ConfigError(
                f"{where} has {_number(len(row), 'field')}, and the header has {len(columns)}: "
                'write a field that holds a divider between quotes, "so, for example"'
            )
        values = dict(zip(columns, row, strict=True))
        given = {name: value for name, value in values.items() if value or name in REQUIRED}
        yield _checked(given, where, columns)


def _rows(path: Path, divider: str) -> Iterator[tuple[str, list[str]]]:
    """Each row that is not empty, and where it begins: a field between quotes may hold lines."""
    table = io.StringIO(_read_text(path), newline="")
    rows = csv.reader(table, delimiter=divider, strict=True)
    while True:
        where = f"{printable(path)}, line {rows.line_num + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ConfigError(
                f"{where} is no row of a table ({error}): a field that holds quotes stands between "
                'quotes, and each quote in it is doubled: "he says ""hello"""'
            ) from error
        if row is None:
            return
        if row:
            yield where, row


def _columns(header: list[str], where: str, divider: str) -> dict[str, int]:
    """The number of each column by its name."""
    names = [name.strip().lower() for name in header]
    for name in REQUIRED:
        if name not in names:
            raise ConfigError(f"{where}: no column {name}: {_what_to_do(name, header, divider)}")
    for number, name in enumerate(names, start=1):
        place = f"{where}, column {number}"
        if name not in FIELDS:
            close = get_close_matches(name, FIELDS, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else "take it out"
            raise ConfigError(f"{place} is named {name!r}, not {', '.join(FIELDS)}: {hint}")
        if name in names[: number - 1]:
            raise ConfigError(f"{place} is named {name} like another before it: keep one of them")
    return {name: number for number, name in enumerate(names, start=1)}


def _what_to_do(name: str, header: list[str], divider: str) -> str:
    """Advice for a header without a column that must be there."""
    example = divider.join(REQUIRED)
    if not header:
        return f"the file is empty, so begin it with the header {example!r}"
    if len(header) == 1 and (other := next((d for d in ";,\t|" if d in header[0]), None)):
        return f"the fields seem to be divided by {other!r}, so save it with {divider!r}"
    close = get_close_matches(name, [one.strip().lower() for one in header], n=1)
    hint = (
        f", did you mean {close[0]!r}?" if close else f", so begin with a header like {example!r}"
    )
    return f"the columns are {', '.join(map(repr, header))}{hint}"


def _checked(values: Mapping[str, object], where: str, columns: Mapping[str, int]) -> CaptionLine:
    """A line whose fields are all texts that a cache can hold."""
    for name, value in values.items():
        place = f"{where}{_column(name, columns)}"
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(
                f"{place}: {name} is {value!r:.100}: write a string that is not empty"
            )
        if "\0" in value:
            raise ConfigError(f"{place}: {name} is {value!r:.100}: take out the zero character")
        # The name of a file may be bytes that are no UTF-8: Python has halves for them.
        if name != "video" and not value.isprintable() and _HALF_A_CHARACTER.search(value):
            raise ConfigError(f"{place}: {name} is {value!r:.100}: half a character is no text")
    return CaptionLine(**values, where=where, columns=columns)  # type: ignore[arg-type]


def _column(name: str, columns: Mapping[str, int]) -> str:
    return f", column {columns[name]}" if name in columns else ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
