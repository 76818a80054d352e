"""Every setting of a fit: of heads alone, of heads and encoders, of a table of heads."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from vidret.pipelines.config.declaring import (
    DEVICES,
    Config,
    ReportConfig,
    check_device,
    check_list,
    require,
    setting,
)

ENCODERS = ("visual", "text", "audio")  # CLIP's two towers and the sound network
WordWeightScale = Literal["literal", "sqrt_c", "learnable"]


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
