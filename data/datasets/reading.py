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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.placed_json import after_blanks, decode_list, decode_object, decode_one
from vidret.data.printable import printable
from vidret.data.words import counted

LINE_END = re.compile(r"\r\n?|\n")
GZIP = ".gz"
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError, RuntimeError)
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a truth value",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of annotations, or a member of an archive; `log` is told that it was read."""

    path: Path
    member: str = ""
    log: "list[Source]" = field(default_factory=list, compare=False, repr=False)

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
        self.log.append(self)
        try:
            if not self.path.is_file():  # a pipe would keep us waiting
                raise MissingError(f"{self} is no file that can be read: get it again")
            if self.member:
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(self.member)
            content = self.path.read_bytes()
            return gzip.decompress(content) if self.path.name.endswith(GZIP) else content
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno:
                raise MissingError(
                    f"{self} cannot be read ({error.strerror}): mend that, or get it again"
                ) from error
            words = error.args[0] if isinstance(error, KeyError) else error
            raise ConfigError(f"{self} cannot be unpacked ({words}): get it again") from error


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and its number from 1."""

    number: int
    text: str


def wrong(source: Source, what: str, expected: str, *, line: int | None = None) -> ConfigError:
    """The error for a file that is not as its form has it."""
    place = f"{source}" if line is None else f"{source}, line {line}"
    return ConfigError(f"{place}: {what}: {expected}")


def once_each(places: Iterable[tuple[int, str]], source: Source, unit: str = "line") -> list[str]:
    """The ids of a list in their order.

    Args:
        places: numbers from 1, and the id that stands there.
        source: the list.
        unit: what is numbered.

    Raises:
        ConfigError: an id is there twice, or there is none.
    """
    first: dict[str, int] = {}
    for place, id_ in places:
        if first.setdefault(id_, place) != place:
            raise wrong(
                source,
                f"{unit} {place} is {printable(id_)}, as {unit} {first[id_]} is already",
                "each video is in there once; get the file again",
            )
    if not first:
        raise wrong(source, "it is empty", "it should name one video or more")
    return list(first)


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
        line = len(re.findall(rb"\r\n?|\n", content[: error.start])) + 1
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
    return once_each(((line.number, line.text.strip()) for line in read_lines(source)), source)


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
        try:
            fields = next(csv.reader([line.text], strict=True))
        except csv.Error as error:
            raise wrong(
                source, f"its quotes go wrong ({error})", "get it again", line=line.number
            ) from error
        if len(fields) != len(header):
            raise wrong(
                source,
                f"it has {counted(len(fields), 'field')}",
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
        return decode_one(text)
    except json.JSONDecodeError as error:
        exact = _exactly(error, text)
        ends = [match.start() for match in re.finditer("\n", text)]
        line = bisect(ends, exact.pos - 1)
        column = exact.pos - (ends[line - 1] if line else -1)
        raise wrong(
            source,
            f"column {column} goes wrong ({exact.msg})",
            "it is cut off or was changed; get it again",
            line=line + 1,
        ) from error


def _exactly(error: json.JSONDecodeError, text: str) -> json.JSONDecodeError:
    """The same error at the entry that it is in; of a key twice only the whole is known."""
    start = after_blanks(text, 0)
    try:
        if text.startswith("[", start):
            decode_list(text, start)
        elif text.startswith("{", start):
            decode_object(text, start)
    except json.JSONDecodeError as exact:
        return exact
    return error


def read_pickle(source: Source) -> Any:  # noqa: ANN401 - a pickle holds anything
    """Lists, dicts, strings and numbers from a pickle; whatever would run code is refused.

    Raises:
        ConfigError: it is no pickle, or asks for more than that.
        MissingError: it cannot be read.
    """
    content = source.read()
    try:
        return _PlainUnpickler(BytesIO(content), encoding="utf-8").load()
    except _NumpyError as error:
        raise ConfigError(
            f"{source} holds numbers or arrays of numpy ({error}), which only code could make: "
            "save it again with plain numbers, int(x), or use another form of the same data"
        ) from error
    except Exception as error:  # a broken pickle can raise anything
        words = str(error).strip() or type(error).__name__
        raise ConfigError(
            f"{source} is no pickle of plain lists and strings ({words}): get it again, or use "
            "another form of the same data"
        ) from error


READERS: dict[str, Callable[[Source], Any]] = {".json": read_json, ".pkl": read_pickle}


def read_captions_by_id(source: Source) -> dict[str, list[str]]:
    """An object from ids to captions; a caption is a text or a list of words, one or several.

    In a pickle a list of texts without a blank in any of them is one caption as a list of words:
    so Collaborative Experts have LSMDC.

    Raises:
        ConfigError: it is anything else.
    """
    values = READERS[source.suffix](source)
    if not isinstance(values, dict):
        raise wrong(source, f"it is {kind_of(values)}", "it maps each video to its captions")
    captions = {
        id_of(id_, source, "a key"): _captions(id_, told, source) for id_, told in values.items()
    }
    if source.suffix == ".pkl" and _are_words(values.values()):
        return {
            id_: [" ".join(texts)] if texts and isinstance(values[id_][0], str) else texts
            for id_, texts in captions.items()
        }
    return captions


def _captions(id_: object, told: object, source: Source) -> list[str]:
    if isinstance(told, str):
        return [told]
    told = list_of(told, source, f"what stands for {id_!r:.60}")
    return [_caption(one, id_, number, source) for number, one in enumerate(told, start=1)]


def _caption(told: object, id_: object, number: int, source: Source) -> str:
    """One caption: a text, or its words."""
    if isinstance(told, list) and all(isinstance(word, str) for word in told):
        return " ".join(told)
    return text_of(told, source, f"caption {number} of {id_!r:.60}")


def _are_words(values: Iterable[object]) -> bool:
    """Whether the texts in lists are words, none of which holds a blank."""
    lists = [told for told in values if isinstance(told, list) and told and type(told[0]) is str]
    return bool(lists) and not any(" " in word for told in lists for word in told)


def id_of(value: object, source: Source, what: str) -> str:
    """A text that is not blank.

    Raises:
        ConfigError: it is anything else.
    """
    if text_of(value, source, what).strip():
        return str(value)
    raise wrong(source, f"{what} is {value!r:.60}", "it should not be blank")


def text_of(value: object, source: Source, what: str) -> str:
    """A text.

    Raises:
        ConfigError: it is anything else.
    """
    if isinstance(value, str):
        return value
    raise wrong(source, f"{what} is {value!r:.60}", "it should be a text")


def list_of(value: object, source: Source, what: str) -> list[Any]:
    """A list.

    Raises:
        ConfigError: it is anything else.
    """
    if isinstance(value, list):
        return value
    raise wrong(source, f"{what} is {kind_of(value)}", "it should be a list")


def field_of(values: object, name: str, source: Source, what: str) -> Any:  # noqa: ANN401
    """A field of an object.

    Raises:
        ConfigError: there is none, or it is no object.
    """
    if not isinstance(values, dict):
        raise wrong(source, f"{what} is {kind_of(values)}", "it should be an object")
    if name not in values:
        found = ", ".join(map(str, values)) or "nothing"
        raise wrong(source, f"{what} has no {name!r:.60}", f"it has {found:.100}")
    return values[name]


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    return _KINDS.get(type(value), "a number")


class _NumpyError(pickle.UnpicklingError):
    pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        name = f"{module_name}.{global_name}"
        if module_name.partition(".")[0] == "numpy":
            raise _NumpyError(name)
        raise pickle.UnpicklingError(f"it asks for {name}")
