"""Real decoding processes that go wrong in a chosen way, over files of chosen names."""

from pathlib import Path

from vidret.extract.decoding import process

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from vidret.extract import decode
from vidret.extract.decoding import child

whole = decode.DECODERS["av"]

def events(path, sampling):
    name, lives = path.name, Path({lives!r})
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("slow"):
        time.sleep(0.4)
    if name.startswith("spin"):
        while True:
            pass
    if name.startswith("greedy"):
        bytearray(8 << 30)
    if name.startswith("bug"):
        raise ZeroDivisionError("a bug of the decoder")
    for number, event in enumerate(whole(path, sampling)):
        once = name.startswith("once") and not lives.exists()
        if number == 3 and (once or name.startswith("crash")):
            lives.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("change") and number == 1:
            path.write_bytes(path.read_bytes() + b"more")
        yield event

decode.DECODERS["av"] = events
child.main()
"""


def spoil_decoders(monkeypatch, folder: Path) -> None:
    """Files called `hang*`, `spin*`, `greedy*`, `bug*`, `crash*`, `change*` do that.

    `once*` crashes once, and `slow*` takes its time.
    """
    program = PROGRAM.format(lives=str(folder / "crashed-once"))
    monkeypatch.setattr(process, "COMMAND", ("-P", "-c", program))
