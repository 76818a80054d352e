"""A moment of a video, started in whatever player this machine has."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.pipelines.extraction.report import shell_word

log = logging.getLogger(__name__)

PLAYERS: Mapping[str, Callable[[Path, float], list[str]]] = {  # those that start anywhere first
    "mpv": lambda file, start: ["mpv", f"--start={start:.1f}", "--", str(file)],
    "vlc": lambda file, start: ["vlc", f"--start-time={start:.1f}", "--", str(file)],
    "ffplay": lambda file, start: ["ffplay", "-ss", f"{start:.1f}", "-autoexit", str(file)],
    "open": lambda file, _: ["open", str(file)],
    "xdg-open": lambda file, _: ["xdg-open", str(file)],
}
USUAL = "mpv"  # what is named where there is none
FROM_THE_BEGINNING = ("open", "xdg-open")
SOON = 0.5  # seconds in which a player that cannot start has ended


def play(file: Path, start: float) -> str:
    """Start a player at a moment, and leave it alone; say the command where there is none.

    Args:
        file: to play.
        start: seconds from its beginning.

    Returns:
        The command, as a shell takes it.

    Raises:
        MissingError: the file is gone, or the player ended at once.
    """
    if not file.is_file():
        raise MissingError(f"{printable(file)} is not there any more, so it cannot be opened")
    player = _player()
    words = PLAYERS[player or USUAL](file.absolute(), start)
    command = " ".join([*words[:-1], shell_word(words[-1])])
    if player is None:
        log.warning("There is no player or no screen here; elsewhere it would be: %s", command)
        return command
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C here is not meant for it
    )
    try:
        code = process.wait(SOON)
    except subprocess.TimeoutExpired:
        code = process.returncode = 0  # it outlives this process, and nobody waits for it
    if code:
        raise MissingError(f"{player} ended at once with code {code}: try it with {command}")
    where = " from the beginning" if player in FROM_THE_BEGINNING else ""
    log.info("Playing%s: %s", where, command)
    return command


def _player() -> str | None:
    """The first player of this machine; None without one, or without a screen to show it on."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        return None
    return next((name for name in PLAYERS if _is_there(name)), None)


def _is_there(name: str) -> bool:
    """Whether a player is installed; `open` is one on a Mac alone."""
    if name == "open" and sys.platform != "darwin":
        return False
    return shutil.which(name) is not None
