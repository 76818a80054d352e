"""Look at everything that `vidret extract` needs, and say how to get what is missing."""

import fcntl
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from vidret.data.errors import MissingError, VidretError
from vidret.extract.backends import installed, quiet_home, require_torchvision
from vidret.pipelines.config.settings import BUNDLED, REAL_AUDIO, TINY, ExtractConfig

GIB = 2**30
LITTLE_SPACE = 2 * GIB
ONLY_FOR_REAL = "not set: only needed for real datasets"


class State(StrEnum):
    """How a check went; only `MISS` stands in the way."""

    OK = "ok"
    WARN = "warn"
    MISS = "miss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    state: State
    what: str
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks, in the order in which an extraction would trip over them."""

    checks: tuple[Check, ...]

    @property
    def missing(self) -> int:
        """How many checks stand in the way."""
        return sum(check.state is State.MISS for check in self.checks)

    @property
    def summary(self) -> str:
        """The last line."""
        return f"{self.missing} missing" if self.missing else "Everything needed is here."

    @property
    def verdict(self) -> VidretError | None:
        """What the command ends with once the report is printed."""
        if not self.missing:
            return None
        return MissingError(
            f"{self.missing} of {len(self.checks)} checks failed: see the fixes above"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {"checks": [asdict(check) for check in self.checks], "missing": self.missing}


def run_doctor(config: ExtractConfig) -> DoctorReport:
    """Check what an extraction with these settings would need."""
    quiet_home()
    return DoctorReport(checks=tuple(check(config) for check in CHECKS))


def check_python(_config: ExtractConfig) -> Check:
    """The interpreter; pip has seen to its version."""
    return _ok("python", platform.python_version())


def check_torch(_config: ExtractConfig) -> Check:
    """A torchvision that was built for another torch fails at import, and open_clip with it."""
    try:
        require_torchvision()
    except MissingError as error:
        return _miss_as_told("torch", error)
    return _ok("torch", f"{installed('torch')} with torchvision {installed('torchvision')}")


def check_open_clip(_config: ExtractConfig) -> Check:
    """The encoder of frames and words."""
    try:
        import open_clip
    except (ImportError, OSError, RuntimeError) as error:
        return _miss("open_clip", _first_line(error), "pip install open_clip_torch")
    return _ok("open_clip", str(open_clip.__version__))


def check_pyav(_config: ExtractConfig) -> Check:
    """The default decoder, whose wheel carries its own FFmpeg."""
    try:
        import av
    except (ImportError, OSError) as error:
        return _miss("PyAV", _first_line(error), "pip install av")
    return _ok("PyAV", f"{av.__version__} with FFmpeg {av.ffmpeg_version_info}")


def check_ffmpeg_python(config: ExtractConfig) -> Check:
    """Two other packages on PyPI install a module of the same name."""
    try:
        import ffmpeg
    except ImportError as error:
        return _needed_by_ffmpeg(
            config, "ffmpeg-python", _first_line(error), "pip install ffmpeg-python"
        )
    if not (hasattr(ffmpeg, "input") and hasattr(ffmpeg, "probe")):
        fix = "pip uninstall -y ffmpeg python-ffmpeg && pip install --force-reinstall ffmpeg-python"
        return _needed_by_ffmpeg(
            config, "ffmpeg-python", f"another package took its name ({ffmpeg.__file__})", fix
        )
    return _ok("ffmpeg-python", installed("ffmpeg-python"))


def check_ffmpeg(config: ExtractConfig) -> Check:
    """The program that ffmpeg-python runs: the one on PATH, else the one of imageio-ffmpeg."""
    fix = "install ffmpeg, or pip install imageio-ffmpeg, which brings one"
    try:
        from vidret.extract.decoding.with_ffmpeg import ffmpeg_binary, ffmpeg_version

        return _ok("ffmpeg", f"{ffmpeg_version().removeprefix('ffmpeg ')} at {ffmpeg_binary()}")
    except (ImportError, AttributeError, OSError, MissingError) as error:
        return _needed_by_ffmpeg(config, "ffmpeg", _first_line(error), fix)


def check_panns(_config: ExtractConfig) -> Check:
    """Found by its files: importing the package runs wget and writes into HOME."""
    spec = importlib.util.find_spec("panns_inference")
    folders = spec.submodule_search_locations if spec else None
    if not any((Path(folder) / "models.py").is_file() for folder in folders or ()):
        return _miss("panns_inference", "models.py not found", "pip install panns_inference")
    if importlib.util.find_spec("torchlibrosa") is None:
        return _miss("panns_inference", "torchlibrosa not found", "pip install torchlibrosa")
    return _ok("panns_inference", installed("panns_inference"))


def check_tiny(_config: ExtractConfig) -> Check:
    """The weights that ship with the package."""
    from vidret.extract.tiny.weights import verify_weights

    try:
        verify_weights()
    except VidretError as error:
        return _miss_as_told("tiny weights", error)
    return _ok("tiny weights", "present, checksum right")


def check_backbone(config: ExtractConfig) -> Check:
    """The encoder that this extraction would use, when it is not the tiny one."""
    what = "backbone weights"
    if config.backbone_name == TINY:
        return _warn(what, f"ViT-B-32 {ONLY_FOR_REAL}")
    if config.backbone_name.startswith("run:"):
        return _check_run(what, config)
    name, _, place = config.backbone_name.partition("@")
    fix = f"set backbone to {name}@PATH, in vidret.toml below [extract] or with --backbone"
    if config.backbone is None:  # extract fetches nothing that nobody named
        return _miss(what, f"no weights are known for {name}", fix)
    if Path(place).is_file():
        return _ok(what, _size_of(name, Path(place)))
    tags = _tags_of(name)
    if tags is None:
        return _miss(what, f"open_clip has no model {name}", "correct the name of the backbone")
    if place not in tags:
        return _miss(what, f"{place or 'nothing'} is neither a file nor a tag of {name}", fix)
    if config.offline or os.environ.get("HF_HUB_OFFLINE") == "1":
        return _miss(what, f"{name}@{place} comes from the hub, and this is offline", fix)
    return _warn(what, f"{name}@{place} comes from the hub unless it is cached", fix)


def _check_run(what: str, config: ExtractConfig) -> Check:
    from vidret.pipelines.extraction.describe import with_encoders_of_run

    try:
        made_by = with_encoders_of_run(config)
    except VidretError as error:
        return _miss(what, str(error), "name another run")
    return _ok(what, f"{config.backbone_name}, which is {made_by.backbone_name}")


def check_audio(config: ExtractConfig) -> Check:
    """The encoder of sound that this extraction would use, when it is not the tiny one."""
    what = "audio weights"
    if config.audio_name == "none":
        return _ok(what, "none: sound is left out, as asked")
    if config.audio_name == TINY:
        return _warn(what, f"{REAL_AUDIO} {ONLY_FOR_REAL}")
    name, _, place = config.audio_name.partition("@")
    fix = f"set audio to {name}@PATH, in vidret.toml below [extract] or with --audio (or to none)"
    if not place:
        return _miss(what, f"{name} needs a file of weights", fix)
    if not Path(place).is_file():
        return _miss(what, f"there is no file {place}", fix)
    return _ok(what, _size_of(name, Path(place)))


def check_dataset(config: ExtractConfig) -> Check:
    """The folder of the dataset; what it must hold is checked by the dataset's own reader."""
    if config.dataset in BUNDLED:
        return _ok("dataset", f"{config.dataset}, which ships with vidret")
    own = config.dataset.removeprefix("folder:")
    root = config.root if own == config.dataset else Path(own).expanduser()
    if root is None:
        fix = f'pass --root, or put into vidret.toml: [datasets.{own}] and below it root = "PATH"'
        return _miss("dataset", f"no folder is known for {own}", fix)
    if not root.is_dir():
        return _miss("dataset", f"{root} is no folder", "correct the path")
    return _ok("dataset", f"{config.dataset} at {root}")


def check_device(config: ExtractConfig) -> Check:
    """A GPU is welcome, and needed only when one was asked for."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return _miss("device", _first_line(error), "pip install torch")
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    asked = int(config.device.partition(":")[2] or 0) + 1 if "cuda" in config.device else 0
    if asked > len(names):
        fix = "set device to auto, or install a torch that knows your GPU"
        return _miss(
            "device", f"{config.device} was asked for, and there are {len(names)} GPUs", fix
        )
    return _ok("device", ", ".join(names) or "no GPU, so the CPU does the work")


def check_work(config: ExtractConfig) -> Check:
    """The work folder, or the folder it will be made in: writable, with locks and room."""
    what = "work folder"
    folder = _existing(config.work.absolute())
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            locks = _locks_work(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder} cannot be written to ({error.strerror})"
        return _miss(what, found, "choose another with --work")
    space = f"{config.work}: {free / GIB:,.0f} GB free"
    if not locks:
        fix = "run one extraction at a time, or choose another with --work"
        return _warn(what, f"{space}, but file locks do not work", fix)
    if free < LITTLE_SPACE:
        return _warn(what, space, "make room, or choose another with --work")
    return _ok(what, f"{space}, file locks work")


CHECKS: tuple[Callable[[ExtractConfig], Check], ...] = (
    check_python,
    check_torch,
    check_open_clip,
    check_pyav,
    check_ffmpeg_python,
    check_ffmpeg,
    check_panns,
    check_tiny,
    check_backbone,
    check_audio,
    check_dataset,
    check_device,
    check_work,
)


def _ok(what: str, found: str) -> Check:
    return Check(state=State.OK, what=what, found=found)


def _miss(what: str, found: str, fix: str) -> Check:
    return Check(state=State.MISS, what=what, found=found, fix=fix)


def _miss_as_told(what: str, error: VidretError) -> Check:
    """An error's own words, which end in what to do."""
    found, _, fix = str(error).rpartition(": ")
    return _miss(what, found, fix)


def _warn(what: str, found: str, fix: str = "") -> Check:
    return Check(state=State.WARN, what=what, found=found, fix=fix)


def _needed_by_ffmpeg(config: ExtractConfig, what: str, found: str, fix: str) -> Check:
    """A miss for those who decode with ffmpeg, a warning for all others."""
    state = State.MISS if config.decoder == "ffmpeg" else State.WARN
    return Check(state=state, what=what, found=found, fix=fix)


def _tags_of(model: str) -> list[str] | None:
    """The tags that open_clip knows weights under, or None when it does not know the model."""
    try:
        import open_clip
    except (ImportError, OSError, RuntimeError):
        return []  # a check of its own speaks about that
    return (
        open_clip.list_pretrained_tags_by_model(model) if model in open_clip.list_models() else None
    )


def _size_of(name: str, path: Path) -> str:
    return f"{name} at {path} ({path.stat().st_size / 2**20:,.0f} MB)"


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _locks_work(file: int) -> bool:
    """Some network file systems refuse `flock`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
