"""Files as HTTP sends them: whole, in ranges, or not again (RFC 9110)."""

import re
from collections.abc import Mapping
from os import stat_result
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

UNIT = re.compile(r"\s*bytes\s*=(.+)", re.IGNORECASE | re.ASCII)
RANGE = re.compile(r"[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII)
NO_SUCH_BYTES = "the file has no such bytes: ask for some before its end"


class SentFile(FileResponse):
    """A file that takes the headers Range and If-None-Match.

    A range that makes no sense is as good as none, and a range behind the end is told in the form
    of all problems here.
    """

    def __init__(
        self, path: Path, *, kind: str, headers: Mapping[str, str], facts: stat_result
    ) -> None:
        super().__init__(path, media_type=kind, headers=headers, stat_result=facts)
        self._size = facts.st_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is asked for."""
        asked = Headers(scope=scope)
        if self._is_known(asked.get("if-none-match")):
            kept = ("etag", "last-modified", "cache-control")
            same = {name: self.headers[name] for name in kept if name in self.headers}
            await Response(status_code=304, headers=same)(scope, receive, send)
            return
        wanted = ranges_in(asked.get("range", ""))
        there = [one for one in wanted if _has_bytes(one, self._size)]
        if wanted and not there and self._takes_ranges(asked):
            told = {"content-range": f"bytes */{self._size}"}
            problem = JSONResponse({"error": NO_SUCH_BYTES}, status_code=416, headers=told)
            await problem(scope, receive, send)
            return
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        if there:
            ranges = ",".join(f"{first}-{last}" for first, last in there)
            headers.append((b"range", f"bytes={ranges}".encode()))
        scope = {**scope, "headers": headers}
        await super().__call__(scope, receive, send)

    def _is_known(self, tags: str | None) -> bool:
        """Whether whoever asks has this file already."""
        if tags is None:
            return False
        own = self.headers["etag"]
        return tags.strip() == "*" or own in (
            tag.strip().removeprefix("W/") for tag in tags.split(",")
        )

    def _takes_ranges(self, asked: Headers) -> bool:
        condition = asked.get("if-range")
        return condition is None or self._should_use_range(condition)


def ranges_in(header: str) -> list[tuple[str, str]]:
    """First and last byte of each range, as written; none where any of it makes no sense."""
    unit = UNIT.fullmatch(header)
    parts = [] if unit is None else [RANGE.fullmatch(part) for part in unit[1].split(",")]
    found = [(part[1], part[2]) for part in parts if part is not None and _is_range(*part.groups())]
    return found if len(found) == len(parts) else []


def _is_range(first: str, last: str) -> bool:
    return bool(first or last) and not (first and last and int(first) > int(last))


def _has_bytes(wanted: tuple[str, str], size: int) -> bool:
    """Whether a range holds any byte of a file; without its first it is so many at the end."""
    first, last = wanted
    return int(first) < size if first else min(int(last), size) > 0
