"""Annotation files, read so that whatever is wrong with one is told with its file, line and column.

A byte order mark, line ends of any kind and a last line without one are no fault. A `.gz` behind a
name, or a published archive around a file, is read through.
"""

import csv
import gzip
import json
import pickle
import re
import zipfile
import zlib
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.placed_json import decode_one
from vidret.data.printable import printable

LINE_END = re.compile(r"\r\n?|\n")
GZIP = ".gz"
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of annotations, or a member of an archive."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return printable(self.path) + (f" ({self.member})" if self.member else "")

    @property
    def suffix(self) -> str:
        """The ending that tells the form, `.json`."""
        name = self.member or self.path.name.removesuffix(GZIP)
        return Path(name).suffix.lower()

    def read(self) -> bytes:
        """All of it.

        Raises:
            MissingError: it cannot be read.
            ConfigError: the archive around it is damaged.
        """
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(self.member)
            content = self.path.read_bytes()
            return gzip.decompress(content) if self.path.name.endswith(GZIP) else content
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno:
                raise MissingError(f"{self} cannot be read: {error.strerror}") from error
            raise ConfigError(f"{self} cannot be unpacked ({error}): get it again") from error


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and its number from 1."""

    number: int
    text: str


def wrong(source: Source, what: str, expected: str, *, line: int | None = None) -> ConfigError:
    """The error for a file that is not as its form has it."""
    place = f"{source}" if line is None else f"{source}, line {line}"
    return ConfigError(f"{place}: {what}: {expected}")


def read_text(source: Source) -> str:
    """A file as text, its byte order mark left out.

    Raises:
        ConfigError: it is no UTF-8.
        MissingError: it cannot be read.
    """
    content = source.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise wrong(
            source,
            f"byte {error.start} of the file is not UTF-8",
            "save it as UTF-8, or get it again",
            line=line,
        ) from error


def read_lines(source: Source) -> Iterator[Line]:
    """The lines that are not blank; blanks around them are kept."""
    for number, text in enumerate(LINE_END.split(read_text(source)), start=1):
        if text.strip():
            yield Line(number, text)


def read_ids(source: Source) -> list[str]:
    """A list with one id a line, in its order.

    Raises:
        ConfigError: an id is there twice, or the list is empty.
    """
    seen: dict[str, int] = {}
    for line in read_lines(source):
        id_ = line.text.strip()
        if id_ in seen:
            raise wrong(
                source,
                f"{id_} is in line {seen[id_]} already",
                "each video is in a list once; get the list again",
                line=line.number,
            )
        seen[id_] = line.number
    if not seen:
        raise wrong(source, "it is empty", "a list holds one video id a line; get it again")
    return list(seen)


def read_table(source: Source, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table whose fields are divided by commas, behind a header; a row is one line.

    Raises:
        ConfigError: the header, or the number of fields of a row, is another.
    """
    lines = read_lines(source)
    first = next(lines, Line(1, ""))
    found = [name.strip() for name in first.text.split(",")]
    if found != list(header):
        raise wrong(
            source,
            f"the header is {first.text.strip()!r:.100}",
            f"it should be {','.join(header)!r}",
            line=first.number,
        )
    for line in lines:
        fields = next(csv.reader([line.text]))
        if len(fields) != len(header):
            raise wrong(
                source,
                f"it has {len(fields)} fields",
                f"each line has {len(header)}: {','.join(header)}",
                line=line.number,
            )
        yield line.number, fields


def read_json(source: Source) -> Any:  # noqa: ANN401 - JSON holds anything
    """The value of a JSON file; a key that stands twice is refused.

    Raises:
        ConfigError: it is no JSON.
        MissingError: it cannot be read.
    """
    text = read_text(source)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        try:  # again, by a slower reader that knows all places
            return decode_one(text)
        except json.JSONDecodeError as error:
            ends = [match.start() for match in re.finditer("\n", text)]
            line = bisect(ends, error.pos - 1)
            column = error.pos - (ends[line - 1] if line else -1)
            raise wrong(
                source,
                f"column {column} goes wrong ({error.msg})",
                "it is cut off or was changed; get it again",
                line=line + 1,
            ) from error


def read_pickle(source: Source) -> Any:  # noqa: ANN401 - a pickle holds anything
    """Lists, dicts, strings and numbers from a pickle; whatever would run code is refused.

    Raises:
        ConfigError: it is no pickle, or asks for more than that.
        MissingError: it cannot be read.
    """
    content = source.read()
    try:
        return _PlainUnpickler(BytesIO(content), encoding="utf-8").load()
    except Exception as error:  # a broken pickle can raise anything
        words = str(error).strip() or type(error).__name__
        raise ConfigError(
            f"{source} is no pickle of plain lists and strings ({words}): get it again, or use the "
            "JSON of the same captions"
        ) from error


READERS: dict[str, Callable[[Source], Any]] = {".json": read_json, ".pkl": read_pickle}


def read_captions_by_id(source: Source) -> dict[str, list[str]]:
    """An object from ids to captions; a caption is a text or a list of words, one or several.

    Raises:
        ConfigError: it is anything else.
    """
    values = READERS[source.suffix](source)
    if not isinstance(values, dict):
        raise wrong(source, f"it is a {kind_of(values)}", "it maps each video to its captions")
    return {text_of(id_, source, "a key"): _captions(id_, told, source) for id_, told in values.items()}


def _captions(id_: object, told: object, source: Source) -> list[str]:
    if isinstance(told, str):
        return [told]
    if isinstance(told, list) and told:
        if all(isinstance(one, list) for one in told):
            return [_sentence(words, id_, source) for words in told]
        if all(isinstance(one, str) for one in told):
            return told
    if told == []:
        return []
    raise wrong(source, f"the captions of {id_} are {told!r:.100}", "each is a text or a list of words")


def _sentence(words: list[object], id_: object, source: Source) -> str:
    if not all(isinstance(word, str) for word in words):
        raise wrong(source, f"a caption of {id_} is {words!r:.100}", "its words are texts")
    return " ".join(map(str, words))


def text_of(value: object, source: Source, what: str) -> str:
    """A text that is not blank.

    Raises:
        ConfigError: it is anything else.
    """
    if isinstance(value, str) and value.strip():
        return value
    raise wrong(source, f"{what} is {value!r:.100}", "it should be a text")


def list_of(value: object, source: Source, what: str) -> list[Any]:
    """A list.

    Raises:
        ConfigError: it is anything else.
    """
    if isinstance(value, list):
        return value
    raise wrong(source, f"{what} is a {kind_of(value)}", "it should be a list")


def field_of(values: object, name: str, source: Source, what: str) -> Any:  # noqa: ANN401
    """A field of an object.

    Raises:
        ConfigError: there is none, or it is no object.
    """
    if not isinstance(values, dict):
        raise wrong(source, f"{what} is a {kind_of(values)}", "it should be an object")
    if name not in values:
        found = ", ".join(map(str, values)) or "nothing"
        raise wrong(source, f"{what} has no {name!r:.60}", f"it has {found:.100}")
    return values[name]


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    kinds = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError
    return values
