"""Every setting of every command in one place: its default, its meaning, what it may be."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

from vidret.data.errors import ConfigError

DEVICES = "auto|cpu|cuda|cuda:N"
TINY = "tiny"
SYNTH = "synth"
BUNDLED = (SYNTH, "synth-mini")  # datasets that the tiny encoders know
SYNTH_CLIPS = 540
REAL_BACKBONE = "ViT-B-32-quickgelu@openai"
REAL_AUDIO = "Cnn14"
DECODERS = ("av", "ffmpeg", "torchcodec", "nvdec")
PIXELS = "pixels"
MOST_FPS = 60
ENCODERS = ("visual", "text", "audio")  # CLIP's two towers and the sound network
WordWeightScale = Literal["literal", "sqrt_c", "learnable"]
Competition = Literal["group", "caption"]
COMPETITIONS: tuple[str, ...] = get_args(Competition)  # of a video's captions in video to text


def setting(
    default: Any = MISSING,  # noqa: ANN401 - a default has the type of its field
    *,
    help: str,  # noqa: A002 - click's own word for it
    choices: tuple[str, ...] = (),
    metavar: str = "",
    env: str = "",
    shared: bool = False,
    argument: bool = False,
) -> Any:  # noqa: ANN401 - stands where a value of the field's type is expected
    """A dataclass field that knows how it is set and explained.

    Args:
        default: the built-in value; without one the setting has to be given.
        help: one line for `--help`.
        choices: the words allowed; empty when any value of the type will do.
        metavar: how `--help` draws a value; empty goes by the type.
        env: the variable that sets it, where that is not `VIDRET_<TABLE>_<FIELD>`.
        shared: one value for all commands: `VIDRET_<FIELD>`, and above the tables of a file.
        argument: stands on the command line without a name, and nowhere else.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "metavar": metavar,
        "env": env,
        "shared": shared,
        "argument": argument,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What every command knows; `table` is the command's table in a file of settings."""

    table: ClassVar[str] = ""

    work: Path = setting(
        Path("vidret-work"), help="Folder that holds caches, runs and indexes.", shared=True
    )
    offline: bool = setting(
        default=False,
        help="Never use the network, not even for weights named by a tag.",
        shared=True,
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_choice(one, getattr(self, one.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig(Config):
    """Settings of a command that ends in a report."""

    json: bool = setting(
        default=False, help="Print the report as JSON instead of tables.", shared=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig(ReportConfig):
    """Settings of `vidret extract`, which `vidret doctor` checks."""

    table: ClassVar[str] = "extract"

    dataset: str = setting(SYNTH, help="Name of a dataset, or folder:PATH for your own videos.")
    root: Path | None = setting(None, help="Folder of the dataset.")
    frames: int = setting(12, help="Frames taken from each video.")
    sampling: str = setting(
        "uniform",
        help="Which frames: uniform, or fps:1 to keep one a second beside them.",
        metavar="uniform|fps:N",
    )
    decoder: str = setting("av", help="What reads the videos.", choices=DECODERS)
    backbone: str | None = setting(
        None, help="Encoder of frames and words: tiny, NAME@PATH, NAME@TAG or run:NAME."
    )
    audio: str | None = setting(None, help="Encoder of sound: tiny, none or Cnn14@PATH.")
    features: str = setting(
        "projected",
        help="What to keep: embeddings, or the hidden states that enter the last projections.",
        choices=("projected", "hidden"),
    )
    precision: str = setting(
        "auto",
        help="What CLIP computes in; auto is bfloat16 on a GPU, else float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    pixels: bool = setting(
        default=False, help="Keep the model's crops and the sound too, for another model or e2e."
    )
    only: str | None = setting(
        None, help="Stop after this step: pixels leaves the encoding to another run."
    )
    shard_size: int | None = setting(
        None, help="Videos in one shard, which is one task; unset is 16, with a GPU 256."
    )
    workers: int = setting(0, help="Worker processes; 0 is one per core, as far as memory goes.")
    decoders: int = setting(
        0, help="Videos that a worker decodes at once; 0 is 1, with a GPU its share of the cores."
    )
    gpus: tuple[int, ...] | None = setting(
        None, help="GPUs of this machine to use, as in 0,1; unset takes all."
    )
    scheduler: str | None = setting(
        None, help="Address of a Dask cluster that is there already.", metavar="ADDR"
    )
    scheduler_file: Path | None = setting(None, help="File that names the address of a cluster.")
    timeout: float = setting(
        60.0, help="Seconds that a video may take to decode, beside its own duration."
    )
    device: str = setting("auto", help="Where encoders run.", metavar=DEVICES, shared=True)
    retry_failed: bool = setting(default=False, help="Try again what failed.")
    force: bool = setting(default=False, help="Make everything again, also what is done.")
    allow_failures: int | str = setting(
        0, help="Failed videos to accept: a number or N%.", metavar="N|N%"
    )
    dry_run: bool = setting(default=False, help="Say what would be done, and do nothing.")
    clips: int | None = setting(None, help=f"Clips to draw for synth; unset draws {SYNTH_CLIPS}.")
    seed: int = setting(0, help="Seed of the clips drawn for synth.")

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(self.frames >= 1, f"frames is {self.frames}: a video needs 1 or more")
        require(
            self.shard_size is None or self.shard_size >= 1,
            f"shard_size is {self.shard_size}: a shard needs 1 or more",
        )
        require(self.workers >= 0, f"workers is {self.workers}: give 0 (one per core) or more")
        require(self.decoders >= 0, f"decoders is {self.decoders}: give 0 (fitting) or more")
        require(self.timeout > 0, f"timeout is {self.timeout}: give seconds above 0")
        self._check_place()
        check_sampling(self.sampling)
        require(
            self.only in (None, PIXELS), f"only is {self.only!r}: pixels is the one step to stop at"
        )
        require(
            self.only is None or self.pixels, f"only is {self.only}: add --pixels to store them"
        )
        require(
            self.clips is None or self.clips >= 1, f"clips is {self.clips}: synth needs 1 or more"
        )
        require(
            self.clips is None or self.dataset == SYNTH,
            f"clips is {self.clips}, but dataset is {self.dataset}: only synth draws clips",
        )
        self.failures_allowed(1)
        check_device(self.device)

    def _check_place(self) -> None:
        """One place to run at: this machine, or one cluster."""
        attached = [name for name in ("scheduler", "scheduler_file") if getattr(self, name)]
        require(
            len(attached) < 2,
            "scheduler and scheduler_file are both given: one of them names the cluster",
        )
        require(
            not (attached and (self.gpus is not None or self.workers)),
            f"{', '.join(attached)} names a cluster, which has its own workers: "
            "leave out gpus and workers",
        )
        if self.gpus is not None:
            check_list("gpus", self.gpus)
            require(min(self.gpus) >= 0, f"gpus are {self.gpus}: a GPU has a number from 0 on")
            require(
                self.device in ("auto", "cuda"),
                f"gpus are {self.gpus} and device is {self.device}: give one of them",
            )

    @property
    def num_clips(self) -> int:
        """How many clips synth is drawn with."""
        return SYNTH_CLIPS if self.clips is None else self.clips

    @property
    def backbone_name(self) -> str:
        """The encoder of frames and words, as given or as the dataset asks for it."""
        return _with_home(self.backbone) or (TINY if self.dataset in BUNDLED else REAL_BACKBONE)

    @property
    def audio_name(self) -> str:
        """The encoder of sound, as given or as the dataset asks for it."""
        return _with_home(self.audio) or (TINY if self.dataset in BUNDLED else REAL_AUDIO)

    def failures_allowed(self, total: int) -> int:
        """How many of `total` videos may fail before the run counts as failed."""
        return _share_of(total, "allow_failures", self.allow_failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig(ReportConfig):
    """Settings of a fit, whether one head is trained or many."""

    cache: Path | None = setting(None, help="Cache to train on; unset takes the newest.")
    epochs: int = setting(6, help="Epochs of the video and text heads.")
    audio_epochs: int = setting(5, help="Epochs of the sound head, the rest frozen.")
    batch_size: int = setting(32, help="Captions in one batch.")
    lr: float = setting(1e-3, help="Learning rate of the video and text heads.")
    audio_lr: float = setting(3e-3, help="Learning rate of the sound head.")
    weight_decay: float = setting(0.01, help="Weight decay of AdamW.")
    dropout: float = setting(0.3, help="Dropout inside the heads.")
    hidden: int | None = setting(
        None, help="Width of the feed-forward layers; unset fits the cache."
    )
    word_weight_scale: WordWeightScale = setting(
        "literal",
        help="Scale of the softmax over words (equation 7).",
        choices=get_args(WordWeightScale),
    )
    select_on: str = setting("val", help="Split that picks the epoch; test marks the table oracle.")
    device: str = setting("auto", help="Where to train.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(self.epochs >= 0, f"epochs is {self.epochs}: give 0 or more")
        require(self.audio_epochs >= 0, f"audio_epochs is {self.audio_epochs}: give 0 or more")
        require(
            self.batch_size >= 2,
            f"batch_size is {self.batch_size}: in-batch negatives need 2 or more",
        )
        require(self.lr > 0, f"lr is {self.lr}: a learning rate is above 0")
        require(self.audio_lr > 0, f"audio_lr is {self.audio_lr}: a learning rate is above 0")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}: give 0 or more")
        require(
            0 <= self.dropout < 1, f"dropout is {self.dropout}: give 0 or more, and less than 1"
        )
        require(self.hidden is None or self.hidden >= 1, f"hidden is {self.hidden}: give 1 or more")
        check_device(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(FitConfig):
    """Settings of `vidret train-heads`."""

    table: ClassVar[str] = "train-heads"

    head: str | None = setting(
        None, help="Head to train; unset takes mgfi+cmfi, or mgfi where there is no sound."
    )
    seed: int = setting(0, help="Seed of weights, batches and dropout.")
    resume: str | None = setting(None, help="Name of a run to continue.")
    name: str | None = setting(None, help="Name of the new run; unset makes one.")

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        require(
            self.resume is None or self.name is None,
            f"resume is {self.resume} and name is {self.name}: a run that continues keeps its name",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(ReportConfig):
    """Settings of `vidret finetune`; the head and its shape are those of the run it starts from."""

    table: ClassVar[str] = "finetune"

    init: str | None = setting(
        None, help="Run to start from; unset takes the newest that is not fine-tuned itself."
    )
    e2e: bool = setting(
        default=False, help="Train the encoders too, from the videos themselves (end to end)."
    )
    unfreeze: tuple[str, ...] = setting(
        ("all",),
        help=f"Encoders that --e2e trains: all, none, or some of {', '.join(ENCODERS)}.",
    )
    epochs: int = setting(5, help="Epochs of CLIP and the video head.")
    audio_epochs: int = setting(5, help="Epochs of the sound network and head, the rest frozen.")
    batch_size: int = setting(32, help="Captions in one batch.")
    lr: float = setting(1e-4, help="Learning rate of the heads.")
    lr_clip: float = setting(1e-6, help="Learning rate of CLIP's towers.")
    lr_audio: float = setting(5e-5, help="Learning rate of the sound network.")
    weight_decay: float = setting(0.01, help="Weight decay of AdamW.")
    select_on: str | None = setting(
        None, help="Split that picks the epoch; unset takes that of the run it starts from."
    )
    seed: int | None = setting(
        None, help="Seed of batches and dropout; unset takes that of the run it starts from."
    )
    pixel_memory: int = setting(
        4096, help="MiB for decoded frames and sound; what does not fit is decoded every time."
    )
    device: str = setting("auto", help="Where to train.", metavar=DEVICES, shared=True)
    resume: str | None = setting(None, help="Name of a fine-tuning to continue.")
    name: str | None = setting(None, help="Name of the new run; unset makes one.")

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_unfreeze(self.unfreeze, e2e=self.e2e)
        require(self.epochs >= 0, f"epochs is {self.epochs}: give 0 or more")
        require(self.audio_epochs >= 0, f"audio_epochs is {self.audio_epochs}: give 0 or more")
        require(
            self.batch_size >= 2,
            f"batch_size is {self.batch_size}: in-batch negatives need 2 or more",
        )
        for name in ("lr", "lr_clip", "lr_audio"):
            rate = getattr(self, name)
            require(rate > 0, f"{name} is {rate}: a learning rate is above 0")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}: give 0 or more")
        require(self.pixel_memory >= 0, f"pixel_memory is {self.pixel_memory}: give 0 or more")
        require(
            self.resume is None or (self.name is None and self.init is None),
            f"resume is {self.resume}: a run that continues keeps its name and its start, "
            "so leave out --name and --init",
        )
        check_device(self.device)

    @property
    def unfrozen(self) -> tuple[str, ...]:
        """The encoders that learn, in the order in which they are listed."""
        if not self.e2e:
            return ()
        return tuple(one for one in ENCODERS if one in self.unfreeze or "all" in self.unfreeze)


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateConfig(FitConfig):
    """Settings of `vidret ablate`."""

    table: ClassVar[str] = "ablate"

    heads: tuple[str, ...] | None = setting(
        None, help="Rows of the table; unset takes the paper's, with sound where there is some."
    )
    seeds: tuple[int, ...] = setting((0, 1, 2), help="Seeds each row is trained with.")

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        if self.heads is not None:
            check_list("heads", self.heads)
        check_list("seeds", self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig(ReportConfig):
    """Settings of `vidret evaluate`."""

    table: ClassVar[str] = "evaluate"

    run: str | None = setting(None, help="Name of the run to score; unset takes the newest.")
    split: str = setting("test", help="Split to score.")
    cache: Path | None = setting(None, help="Cache to score on; unset takes the run's own.")
    v2t: str | None = setting(
        None,
        help="Rank captions by video, or each alone; unset leaves it to the protocol.",
        choices=COMPETITIONS,
    )
    fail_under: str | None = setting(
        None, help="Exit with 6 when a recall, text to video, stays below this, as in R@1=30."
    )
    sims: Path | None = setting(
        None, help="A .npy to score instead of a run: a row a caption, a column a video."
    )
    owners: Path | None = setting(
        None, help="A .npy of each caption's column; unset pairs row i with column i."
    )
    protocol: str | None = setting(None, help="How to score the matrix, as in msvd-multi.")
    device: str = setting("auto", help="Where to score.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_device(self.device)
        self._check_matrix()
        _ = self.threshold

    def _check_matrix(self) -> None:
        """A matrix or a run, and each with what belongs to it."""
        if self.sims is None:
            for name in ("owners", "protocol"):
                given = getattr(self, name)
                require(given is None, f"{name} is {given}, but only a matrix needs it: add --sims")
            return
        for name, unset in (("run", None), ("cache", None), ("split", "test")):
            given = getattr(self, name)
            require(
                given == unset,
                f"{name} is {given} and sims is {self.sims}: score a run or a matrix",
            )
        require(
            self.protocol is not None,
            f"sims is {self.sims}, and nothing says how to score it: add a --protocol, such as "
            "msvd-multi, msrvtt-1ka or pairs",
        )

    @property
    def competition(self) -> Competition | None:
        """Whom a video's captions compete with, None where the protocol says it."""
        return cast(Competition | None, self.v2t)

    @property
    def threshold(self) -> tuple[str, float] | None:
        """The metric and the percentage that `fail_under` asks for."""
        if self.fail_under is None:
            return None
        match = re.fullmatch(r"R@?([1-9]\d*)=(\d+(?:\.\d+)?)%?", self.fail_under.replace(" ", ""))
        if not match or float(match[2]) > 100:
            raise ConfigError(
                f"fail_under is {self.fail_under!r}: give a recall and a percentage, as in R@1=30"
            )
        return f"R@{match[1]}", float(match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig(ReportConfig):
    """Settings of `vidret search`."""

    table: ClassVar[str] = "search"

    query: str = setting(help="What to look for, in your own words.", argument=True)
    path: Path | None = setting(
        None, help="Folder of videos; unset searches what is cached.", argument=True
    )
    run: str | None = setting(None, help="Name of the run to rank with; unset takes the newest.")
    cache: Path | None = setting(None, help="Cache to search; unset takes the newest.")
    top: int = setting(10, help="How many clips to show.")
    format: str = setting(
        "table", help="How to print the clips.", choices=("table", "json", "csv", "paths")
    )
    device: str = setting("auto", help="Where to rank.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(bool(self.query.strip()), "query is empty: say what to look for")
        require(self.top >= 1, f"top is {self.top}: give 1 or more")
        require(
            self.path is None or self.cache is None,
            f"path is {self.path} and cache is {self.cache}: search one or the other",
        )
        check_device(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig(ReportConfig):
    """Settings of `vidret probe`."""

    table: ClassVar[str] = "probe"

    path: Path = setting(help="File to decode.", argument=True)
    frames: int = setting(12, help="Frames to take.")
    sampling: str = setting(
        "uniform",
        help="Which frames: uniform, or fps:1 for one of each second.",
        metavar="uniform|fps:N",
    )
    decoder: str = setting("av", help="What reads the file.", choices=DECODERS)
    timeout: float = setting(60.0, help="Seconds that the file may take, beside its own duration.")

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(self.frames >= 1, f"frames is {self.frames}: a video needs 1 or more")
        require(self.timeout > 0, f"timeout is {self.timeout}: give seconds above 0")
        check_sampling(self.sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig(ReportConfig):
    """Settings of `vidret cache info`, `verify` and `repair`."""

    table: ClassVar[str] = "cache"

    cache: Path | None = setting(None, help="Cache to look at; unset takes the newest.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheExportConfig(CacheConfig):
    """Settings of `vidret cache export`."""

    table: ClassVar[str] = "cache-export"

    to: Path | None = setting(None, help="Empty folder to write into.")
    format: str = setting("npz", help="Format of the files.", choices=("npz", "parquet"))
    split: str | None = setting(None, help="Split to write; unset writes all.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheGcConfig(CacheConfig):
    """Settings of `vidret cache gc`."""

    table: ClassVar[str] = "cache-gc"

    all: bool = setting(default=False, help="Go through every cache of the work folder.")
    unused: bool = setting(
        default=False, help="Remove caches, too, that no run uses; the newest always stays."
    )
    dry_run: bool = setting(default=False, help="Say what would be removed, and remove nothing.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetsConfig(ReportConfig):
    """Settings of `vidret datasets verify`."""

    table: ClassVar[str] = "datasets-verify"

    dataset: str = setting(help="Name of a dataset, or folder:PATH.", argument=True)
    root: Path | None = setting(None, help="Folder of the dataset.")
    look: bool = setting(
        default=True, help="Open every video, to find those without sound or without pictures."
    )
    workers: int = setting(0, help="Videos to open at the same time; 0 is one per core.")
    allow_missing: int | str = setting(
        0, help="Videos that the test split may lack: a number or N%.", metavar="N|N%"
    )

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(self.workers >= 0, f"workers is {self.workers}: give 0 (one per core) or more")
        self.missing_allowed(1)

    def missing_allowed(self, total: int) -> int:
        """How many of `total` videos may be missing before the test counts as incomplete."""
        return _share_of(total, "allow_missing", self.allow_missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsConfig(ReportConfig):
    """Settings of `vidret weights verify`."""

    table: ClassVar[str] = "weights"

    file: Path = setting(help="File of weights, in any form they are published in.", argument=True)
    model: str | None = setting(
        None, help="Model whose weights it should hold; unset tries those that vidret knows."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig(WeightsConfig):
    """Settings of `vidret weights convert`."""

    table: ClassVar[str] = "weights-convert"

    out: Path = setting(help="File to write; its name ends in .safetensors.", argument=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig(Config):
    """Settings of `vidret demo`; its folder is its own, so that a demo touches nothing else."""

    table: ClassVar[str] = "demo"

    work: Path = setting(Path("vidret-demo"), help="Folder that the demo writes into.")
    clips: int | None = setting(None, help=f"Clips to draw; unset draws {SYNTH_CLIPS}.")
    seeds: tuple[int, ...] = setting((0, 1, 2), help="Seeds each head is trained with.")

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_list("seeds", self.seeds)
        require(self.clips is None or self.clips >= 1, f"clips is {self.clips}: give 1 or more")


CONFIGS: dict[str, type[Config]] = {
    DemoConfig.table: DemoConfig,
    ExtractConfig.table: ExtractConfig,
    ProbeConfig.table: ProbeConfig,
    CacheConfig.table: CacheConfig,
    CacheExportConfig.table: CacheExportConfig,
    CacheGcConfig.table: CacheGcConfig,
    DatasetsConfig.table: DatasetsConfig,
    WeightsConfig.table: WeightsConfig,
    ConvertConfig.table: ConvertConfig,
    TrainConfig.table: TrainConfig,
    FinetuneConfig.table: FinetuneConfig,
    EvaluateConfig.table: EvaluateConfig,
    AblateConfig.table: AblateConfig,
    SearchConfig.table: SearchConfig,
}


def named_settings(config_class: type[Config]) -> list[Field[Any]]:
    """The settings that have a name everywhere: option, variable and key."""
    return [one for one in fields(config_class) if not one.metadata["argument"]]


def required_arguments(config_class: type[Config]) -> list[str]:
    """What only a command line can give, and must."""
    return [one.name for one in fields(config_class) if one.default is MISSING]


def option_of(name: str) -> str:
    """The option of a setting: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


def variable_of(config_class: type[Config], one: Field[Any]) -> str:
    """The environment variable of a setting."""
    if one.metadata["env"]:
        return str(one.metadata["env"])
    words = (
        ["VIDRET", one.name] if one.metadata["shared"] else ["VIDRET", config_class.table, one.name]
    )
    return "_".join(words).upper().replace("-", "_")


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like assert
    """Raise a ConfigError that says `otherwise` unless the condition holds."""
    if not holds:
        raise ConfigError(otherwise)


def check_device(device: str) -> None:
    """Refuse a word that names no device; whether the device is there is seen when it is used."""
    require(
        re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is not None,
        f"device is {device!r}: give auto, cpu, cuda or cuda:N",
    )


def check_sampling(policy: str) -> None:
    """Refuse what is no way to choose frames."""
    rate = re.fullmatch(r"fps:(\d+(?:\.\d+)?)", policy)
    require(
        policy == "uniform" or (rate is not None and 0 < float(rate[1]) <= MOST_FPS),
        f"sampling is {policy!r}: give uniform, or fps:N with N up to {MOST_FPS}",
    )


def check_unfreeze(unfreeze: tuple[str, ...], *, e2e: bool) -> None:
    """Refuse words that name no encoder, and a choice of encoders where none learns."""
    check_list("unfreeze", unfreeze)
    alone = len(unfreeze) == 1 and unfreeze[0] in ("all", "none")
    require(
        alone or set(unfreeze) <= set(ENCODERS),
        f"unfreeze is {','.join(unfreeze)}: give all, none, or some of {', '.join(ENCODERS)}",
    )
    require(
        e2e or unfreeze == ("all",),
        f"unfreeze is {','.join(unfreeze)}, but only the heads learn here: add --e2e",
    )


def check_list(name: str, values: Sequence[object]) -> None:
    """Refuse a list that is empty or says something twice."""
    require(bool(values), f"{name} is empty: name one or more")
    twins = [value for value in values if values.count(value) > 1]
    require(not twins, f"{name} has {twins[:1]} more than once: name each one once")


def _share_of(total: int, name: str, given: int | str) -> int:
    """A number of videos, given as such or as a percentage of all."""
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", str(given))
    if not match or (match[2] and float(match[2]) > 100):
        raise ConfigError(
            f"{name} is {str(given)!r}: give a number of videos such as 4, or a percentage from 0% "
            "to 100%"
        )
    return int(match[1]) if match[1] else int(total * float(match[2]) / 100)


def _with_home(spec: str | None) -> str | None:
    """`NAME@~/file` with the home folder written out, which no shell does after an @."""
    if spec is None or "@~" not in spec:
        return spec
    name, _, place = spec.partition("@")
    return f"{name}@{Path(place).expanduser()}"


def _check_choice(one: Field[Any], value: object) -> None:
    choices = one.metadata["choices"]
    require(
        not choices or value in (one.default, *choices),
        f"{one.name} is {value!r}: give {_either(choices)}",
    )


def _either(words: tuple[str, ...]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
