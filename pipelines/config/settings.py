"""Every setting of every command in one place: its default, its meaning, what it may be."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

from vidret.data.errors import ConfigError
from vidret.pipelines.config.declaring import (
    DEVICES,
    OPTIONS,
    Config,
    ReportConfig,
    check_device,
    check_list,
    require,
    setting,
)
from vidret.pipelines.config.fitting import AblateConfig, FinetuneConfig, TrainConfig
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.reranking import RerankConfig
from vidret.pipelines.config.searching import (
    ExplainConfig,
    IndexConfig,
    SearchConfig,
)
from vidret.pipelines.config.serving import ServeConfig

TINY = "tiny"
SYNTH = "synth"
BUNDLED = (SYNTH, "synth-mini")  # datasets that the tiny encoders know
SYNTH_CLIPS = 540
REAL_BACKBONE = "ViT-B-32-quickgelu@openai"
REAL_AUDIO = "Cnn14"
DECODERS = ("av", "ffmpeg", "torchcodec", "nvdec")
PIXELS = "pixels"
MOST_FPS = 60
Competition = Literal["group", "caption"]
Precision = Literal["float32", "bfloat16", "float16"]
COMPETITIONS: tuple[str, ...] = get_args(Competition)  # of a video's captions in video to text


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
class EvaluateConfig(RerankConfig):
    """Settings of `vidret evaluate`."""

    table: ClassVar[str] = "evaluate"
    group: ClassVar[str] = OPTIONS

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
    precision: Precision = setting(
        "float32",
        help="What hidden layers are multiplied in; the coarser ones gain on a GPU alone.",
        choices=get_args(Precision),
    )
    audio_weight: float | None = setting(
        None, help="What the sound counts in a score; unset is the run's own, 0 leaves it out."
    )
    mem_budget: int | None = setting(
        None, help="MiB that scoring may take beside the features; unset is what suits the device."
    )
    device: str = setting("auto", help="Where to score.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        RerankConfig.__post_init__(self)
        check_device(self.device)
        require(
            self.audio_weight is None or self.audio_weight >= 0,
            f"audio_weight is {self.audio_weight}: give 0 or more",
        )
        require(
            self.mem_budget is None or self.mem_budget >= 1,
            f"mem_budget is {self.mem_budget}: give 1 MiB or more",
        )
        self._check_matrix()
        self.check_splits(matrix=self.sims is not None, split=self.split)
        _ = self.threshold

    def _check_matrix(self) -> None:
        """A matrix or a run, and each with what belongs to it."""
        if self.sims is None:
            for name in ("owners", "protocol"):
                given = getattr(self, name)
                require(given is None, f"{name} is {given}, but only a matrix needs it: add --sims")
            return
        usual = (
            ("run", None),
            ("cache", None),
            ("split", "test"),
            ("precision", "float32"),
            ("audio_weight", None),
        )
        for name, unset in usual:
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
    def memory(self) -> int | None:
        """`mem_budget` in bytes."""
        return None if self.mem_budget is None else self.mem_budget << 20

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
    PageConfig.table: PageConfig,
    IndexConfig.table: IndexConfig,
    SearchConfig.table: SearchConfig,
    ExplainConfig.table: ExplainConfig,
    ServeConfig.table: ServeConfig,
}


def check_sampling(policy: str) -> None:
    """Refuse what is no way to choose frames."""
    rate = re.fullmatch(r"fps:(\d+(?:\.\d+)?)", policy)
    require(
        policy == "uniform" or (rate is not None and 0 < float(rate[1]) <= MOST_FPS),
        f"sampling is {policy!r}: give uniform, or fps:N with N up to {MOST_FPS}",
    )


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
