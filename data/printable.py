"""Names as people can be shown them: one line each, whatever bytes a file is called by."""

import os


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path or name for a message: what no screen shows is spelt out, like `\n` or `\udcff`.

    Otherwise a name could break the lines of a list, colour a terminal, or turn its text around.
    """
    return "".join(map(_spelt, os.fspath(path)))


def _spelt(sign: str) -> str:
    if sign.isprintable():
        return sign
    return sign.encode("unicode_escape", "backslashreplace").decode("ascii")
