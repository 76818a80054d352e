"""Every setting of a fit: of heads alone, of heads and encoders, of a table of heads."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from vidret.heads.options import HeadOptions
from vidret.heads.reranking.options import RERANKERS
from vidret.pipelines.config.declaring import (
    DEVICES,
    Config,
    ReportConfig,
    check_device,
    check_list,
    require,
    setting,
)
from vidret.pipelines.config.hierarchy import HierarchyConfig, check_hierarchy
from vidret.pipelines.config.reranking import (
    BANK_SIZE,
    check_bank_size,
    check_rerankers,
    check_tuning,
)
from vidret.pipelines.config.unfreezing import Unfrozen, check_encoders, read_unfreeze

TABLE_SUFFIXES = (".md", ".tex", ".json", ".csv", ".txt")
PLOT_SUFFIXES = (".svg", ".png", ".pdf")
FEWEST_RESAMPLES = 100  # fewer have nobody in the outer 2.5 percent
NOT_OF_A_RUN = ("work", "offline", "json", "cache", "device", "tensorboard", "log_every")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig(HierarchyConfig):
    """Settings of a fit, whether one head is trained or many."""

    group: ClassVar[str] = "Training"

    cache: Path | None = setting(None, help="Cache to train on; unset takes the newest.")
    epochs: int = setting(6, help="Epochs of the video and text heads.")
    audio_epochs: int = setting(5, help="Epochs of the sound head, the rest frozen.")
    batch_size: int = setting(32, help="Captions in one batch.")
    audio_batch_size: int | None = setting(
        None, help="Captions in one batch of the sound head; unset takes as many."
    )
    lr: float = setting(1e-3, help="Learning rate of the video and text heads.")
    audio_lr: float = setting(3e-3, help="Learning rate of the sound head.")
    weight_decay: float = setting(0.01, help="Weight decay of AdamW.")
    audio_weight_decay: float | None = setting(
        None, help="Weight decay of the sound head; unset takes the same."
    )
    decay_to: str = setting(
        "start",
        help="What weight decay pulls to: the weights at the start, or zero.",
        choices=("start", "zero"),
    )
    schedule: str = setting(
        "cosine",
        help="How the learning rate falls after warming up.",
        choices=("cosine", "linear", "constant"),
    )
    warm_up: float = setting(0.1, help="Share of all steps in which the learning rate rises.")
    clip_norm: float = setting(1.0, help="Largest norm of the gradient; 0 clips nothing.")
    ema: float = setting(
        0.0, help="Keep an average of the weights, with this decay a step, as in 0.999; 0 is off."
    )
    patience: int = setting(
        0, help="Stop a stage after so many epochs without a better one; 0 never stops."
    )
    pairs: str = setting(
        "all",
        help="Every caption an epoch; no video twice in a batch; one caption of each video.",
        choices=("all", "distinct", "one-each"),
    )
    same_video: str = setting(
        "mask",
        help="Other captions of the same video in a batch: left out, right, or wrong.",
        choices=("mask", "positive", "negative"),
    )
    directions: str = setting(
        "mean", help="Mean or sum of the losses of both directions.", choices=("mean", "sum")
    )
    loss_dual_softmax: float = setting(
        0.0, help="Scale of CAMoE's prior in the loss, in theirs 0.001; 0 is off."
    )
    loss_distillation: float = setting(
        0.0, help="Share of the loss's target that the features decide; 0 is off."
    )
    loss_distillation_by: str = setting(
        "videos",
        help="What likeness decides it: of videos, of texts, of words and frames.",
        choices=("videos", "texts", "tokens"),
    )
    loss_distillation_scale: float = setting(
        20.0, help="What that likeness is multiplied by before its softmax."
    )
    temperature: str = setting(
        "learned",
        help="Of the loss: learned, fixed, or learned after the first epoch.",
        choices=("learned", "fixed", "late"),
    )
    logit_scale: float | None = setting(
        None, help="What the temperature starts from; unset takes the backbone's, at most 100."
    )
    audio_weight: float | str = setting(
        1.0,
        help="Of the sound in a score; val finds it on the split that picks the epoch.",
        metavar="X|val",
    )
    precision: str = setting(
        "float32", help="What training computes in.", choices=("float32", "bfloat16")
    )
    train_projection: bool = setting(
        default=False, help="Train CLIP's last projections too; needs extract --features hidden."
    )
    projection_lr: float = setting(1e-4, help="Learning rate of those projections.")
    jitter: bool = setting(
        default=False, help="Draw other frames every epoch; needs extract --sampling fps:N."
    )
    select_on: str = setting("val", help="Split that picks the epoch; test marks the table oracle.")
    tensorboard: bool = setting(
        default=False, help="Write for TensorBoard, too, beside the run's log.jsonl."
    )
    log_every: int = setting(50, help="Steps between two lines of the log.")
    device: str = setting("auto", help="Where to train.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        for name in ("epochs", "audio_epochs", "patience"):
            its = getattr(self, name)
            require(its >= 0, f"{name} is {its}: give 0 or more")
        for name in ("batch_size", "audio_batch_size"):
            its = getattr(self, name)
            require(its is None or its >= 2, f"{name} is {its}: in-batch negatives need 2 or more")
        for name in ("lr", "audio_lr", "projection_lr"):
            its = getattr(self, name)
            require(its > 0, f"{name} is {its}: a learning rate is above 0")
        for name in ("weight_decay", "audio_weight_decay", "clip_norm"):
            its = getattr(self, name)
            require(its is None or its >= 0, f"{name} is {its}: give 0 or more")
        for name in ("warm_up", "ema", "dropout"):
            its = getattr(self, name)
            require(0 <= its < 1, f"{name} is {its}: give 0 or more, and less than 1")
        require(self.hidden is None or self.hidden >= 1, f"hidden is {self.hidden}: give 1 or more")
        require(self.layers >= 1, f"layers is {self.layers}: give 1 or more")
        require(self.log_every >= 1, f"log_every is {self.log_every}: give 1 or more")
        require(
            self.loss_dual_softmax >= 0,
            f"loss_dual_softmax is {self.loss_dual_softmax}: give 0 or more",
        )
        require(
            0 <= self.loss_distillation <= 1,
            f"loss_distillation is {self.loss_distillation}: give a share from 0 to 1",
        )
        require(
            self.loss_distillation_scale > 0,
            f"loss_distillation_scale is {self.loss_distillation_scale}: give a number above 0",
        )
        require(
            self.logit_scale is None or 0 < self.logit_scale <= 100,
            f"logit_scale is {self.logit_scale}: give a number above 0, and 100 at the most",
        )
        require(
            self.audio_weight == "val"
            or (isinstance(self.audio_weight, int | float) and self.audio_weight >= 0),
            f"audio_weight is {self.audio_weight!r}: give val, or a number from 0 on",
        )
        check_hierarchy(self)
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
        ("all",), help="What --e2e trains: all, none, visual, text, audio, last:N, norms."
    )
    lora: int = setting(
        0, help="Rank of adapters that learn in the place of these matrices; 0 is off."
    )
    batchnorm: str = setting(
        "eval", help="BatchNorm of the sound network while it learns.", choices=("eval", "train")
    )
    augment: tuple[str, ...] | None = setting(
        None, help="Other pictures every epoch: crop, flip or both; unset is as in the paper."
    )
    save: str = setting(
        "full",
        help="What is written of an encoder: all weights, or the difference to its own.",
        choices=("full", "delta"),
    )
    epochs: int = setting(5, help="Epochs of CLIP and the video head.")
    audio_epochs: int = setting(5, help="Epochs of the sound network and head, the rest frozen.")
    batch_size: int = setting(32, help="Captions in one batch.")
    lr: float = setting(1e-4, help="Learning rate of the heads.")
    lr_clip: float = setting(1e-6, help="Learning rate of CLIP's towers.")
    lr_audio: float = setting(5e-5, help="Learning rate of the sound network.")
    lr_lora: float = setting(1e-4, help="Learning rate of adapters, in the place of both.")
    layer_decay: float = setting(
        1.0, help="Rate of a block as a share of that of the one above it; 1 is off."
    )
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
    precision: str = setting(
        "auto",
        help="What the encoders compute in; auto is bfloat16 on a GPU, and float32 elsewhere.",
        choices=("auto", "float32", "bfloat16"),
    )
    chunk: int = setting(
        0, help="Captions or videos encoded at once, for less memory; 0 encodes the whole batch."
    )
    checkpointing: bool = setting(
        default=False, help="Compute blocks of the encoders twice, for less memory."
    )
    tensorboard: bool = setting(
        default=False, help="Write for TensorBoard, too, beside the run's log.jsonl."
    )
    log_every: int = setting(50, help="Steps between two lines of the log.")
    save_every: float = setting(
        10.0, help="Minutes between two saves amid an epoch; 0 saves after epochs alone."
    )
    device: str = setting("auto", help="Where to train.", metavar=DEVICES, shared=True)
    resume: str | None = setting(None, help="Name of a fine-tuning to continue.")
    name: str | None = setting(None, help="Name of the new run; unset makes one.")

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_encoders(self)
        require(self.epochs >= 0, f"epochs is {self.epochs}: give 0 or more")
        require(self.audio_epochs >= 0, f"audio_epochs is {self.audio_epochs}: give 0 or more")
        require(
            self.batch_size >= 2,
            f"batch_size is {self.batch_size}: in-batch negatives need 2 or more",
        )
        for name in ("lr", "lr_clip", "lr_audio", "lr_lora"):
            rate = getattr(self, name)
            require(rate > 0, f"{name} is {rate}: a learning rate is above 0")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}: give 0 or more")
        require(self.pixel_memory >= 0, f"pixel_memory is {self.pixel_memory}: give 0 or more")
        require(self.chunk >= 0, f"chunk is {self.chunk}: give 0 or more")
        require(self.log_every >= 1, f"log_every is {self.log_every}: give 1 or more")
        require(self.save_every >= 0, f"save_every is {self.save_every}: give 0 or more")
        require(
            self.resume is None or (self.name is None and self.init is None),
            f"resume is {self.resume}: a run that continues keeps its name and its start, "
            "so leave out --name and --init",
        )
        check_device(self.device)

    @property
    def unfrozen(self) -> Unfrozen:
        """What learns of the encoders."""
        return read_unfreeze(self.unfreeze if self.e2e else ("none",))


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateConfig(FitConfig):
    """Settings of `vidret ablate`."""

    table: ClassVar[str] = "ablate"

    heads: tuple[str, ...] | None = setting(
        None, help="Rows of the table; unset takes the paper's, with sound where there is some."
    )
    seeds: tuple[int, ...] = setting((0, 1, 2), help="Seeds each row is trained with.")
    vary: tuple[str, ...] | None = setting(
        None,
        help="Rows for each value of a setting; several --vary make all combinations.",
        metavar="NAME=V,V...",
        repeatable=True,
    )
    base: str | None = setting(
        None, help="Head or row that the others are compared with; unset takes the first."
    )
    jobs: int = setting(
        0, help="Fits side by side; 0 takes what cores and memory allow, and 1 on a GPU."
    )
    resamples: int = setting(10_000, help="Draws of the bootstrap behind each interval.")
    format: str = setting(
        "table", help="What to print.", choices=("table", "json", "markdown", "latex", "csv")
    )
    out: tuple[Path, ...] | None = setting(
        None,
        help="File for the table, too: .md, .tex, .json, .csv or .txt; may be given again.",
        metavar="FILE",
        repeatable=True,
    )
    plot: tuple[Path, ...] | None = setting(
        None,
        help="File for a picture of the table: .svg, .png or .pdf; may be given again.",
        metavar="FILE",
        repeatable=True,
    )
    cost: bool = setting(
        default=False, help="Also show what each row costs to train, and a pair to score."
    )
    remeasure: bool = setting(
        default=False, help="With --cost, time scoring again and pass over what was kept."
    )
    plot_cost: tuple[Path, ...] | None = setting(
        None,
        help="File for a picture of R@1 against the cost of a pair; may be given again.",
        metavar="FILE",
        repeatable=True,
    )
    rerank: tuple[str, ...] | None = setting(
        None,
        help=f"Rows for {', '.join(RERANKERS)} below every row.",
        metavar="NAME,NAME...",
    )
    rerank_tune: str | None = setting(
        None, help="Split that picks a setting of each re-ranker, as val; unset picks none."
    )
    bank_size: int = setting(
        BANK_SIZE, help="Captions of split train in a bank, and videos, at most; 0 is all."
    )
    dry_run: bool = setting(default=False, help="Only say what is done and what would be fitted.")

    @property
    def shows_cost(self) -> bool:
        """Whether costs are to be known."""
        return self.cost or self.plot_cost is not None

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        for name in ("heads", "vary", "out", "plot", "plot_cost"):
            its = getattr(self, name)
            if its is not None:
                check_list(name, its)
        check_list("seeds", self.seeds)
        require(self.jobs >= 0, f"jobs is {self.jobs}: give 0 or more")
        require(
            self.resamples >= FEWEST_RESAMPLES,
            f"resamples is {self.resamples}: give {FEWEST_RESAMPLES} or more",
        )
        require(
            not self.json or self.format in ("table", "json"),
            f"json and format {self.format} are two forms of one table: leave one of them out",
        )
        check_rerankers(self.rerank)
        check_bank_size(self.bank_size)
        check_tuning(self.rerank_tune, "test")
        require(
            self.rerank_tune is None or self.rerank is not None,
            f"rerank_tune is {self.rerank_tune}, and nothing is re-ranked: add --rerank",
        )
        for path in self.out or ():
            check_suffix("out", path, TABLE_SUFFIXES)
        for name in ("plot", "plot_cost"):
            for path in getattr(self, name) or ():
                check_suffix(name, path, PLOT_SUFFIXES)


def check_suffix(name: str, path: Path, known: tuple[str, ...]) -> None:
    """Refuse a file whose name does not say which form it should have."""
    require(
        path.suffix.lower() in known,
        f"{name} is {path}: end its name in {', '.join(known[:-1])} or {known[-1]}",
    )


HEAD_SETTINGS = tuple(one.name for one in fields(HeadOptions))
FIT_SETTINGS = tuple(one.name for one in fields(FitConfig) if one.name not in NOT_OF_A_RUN)
