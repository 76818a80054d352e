"""JSON whose values know where they stand, and in which no key hides another.

Python's own reader says where a text stops being JSON, but not where a value began that is JSON
and yet wrong; and of two equal keys it keeps the last without a word.
"""

import json
import re
from typing import Any

Placed = tuple[int, Any]  # where a value begins, and the value

_BLANKS = re.compile(r"[ \t\r\n]*")


def decode_one(text: str) -> object:
    """The one value that a text consists of.

    Raises:
        json.JSONDecodeError: it is no JSON, or there is more in it.
    """
    value, end = _decode(text, after_blanks(text, 0))
    end = after_blanks(text, end)
    if end < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def decode_list(text: str, start: int) -> tuple[list[Placed], int]:
    """The values of the list that begins here, and where the text goes on after it.

    Raises:
        json.JSONDecodeError: it is no JSON.
    """
    values: list[Placed] = []
    index = after_blanks(text, _after_sign(text, start, "["))
    while not (text.startswith("]", index) and not values):
        value, end = _decode(text, index)
        values.append((index, value))
        index = after_blanks(text, end)
        if text.startswith("]", index):
            break
        index = after_blanks(text, _after_sign(text, index, ","))
    return values, after_blanks(text, index + 1)


def decode_object(text: str, start: int) -> tuple[list[tuple[int, str, object]], int]:
    """The object that begins here, and where the text goes on after it.

    Each key stands with the place and the content of its value; a list is one of `Placed`.

    Raises:
        json.JSONDecodeError: it is no JSON, or has a key twice.
    """
    values: dict[str, tuple[int, str, object]] = {}
    index = after_blanks(text, _after_sign(text, start, "{"))
    while not (text.startswith("}", index) and not values):
        if not text.startswith('"', index):
            raise json.JSONDecodeError("Expecting a key in quotes", text, index)
        key, end = _decode(text, index)
        if key in values:
            raise json.JSONDecodeError(_twice(key), text, index)
        at = after_blanks(text, _after_sign(text, after_blanks(text, end), ":"))
        read = decode_list if text.startswith("[", at) else _decode
        value, end = read(text, at)
        values[key] = (at, key, value)
        index = after_blanks(text, end)
        if text.startswith("}", index):
            break
        index = after_blanks(text, _after_sign(text, index, ","))
    return list(values.values()), after_blanks(text, index + 1)


def after_blanks(text: str, index: int) -> int:
    """Where the next sign stands."""
    match = _BLANKS.match(text, index)
    assert match is not None  # it matches nothing, too
    return match.end()


def _after_sign(text: str, index: int, sign: str) -> int:
    if not text.startswith(sign, index):
        raise json.JSONDecodeError(f"Expecting {sign!r}", text, index)
    return index + 1


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The value that begins here, and where it ends; all that is wrong has its place."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("too many brackets within one another", text, start) from error
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise json.JSONDecodeError(str(error), text, start) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(_twice(next(key for key in keys if keys.count(key) > 1)))
    return values


def _twice(key: str) -> str:
    return f"the key {key!r} stands twice"


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
