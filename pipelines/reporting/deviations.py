"""How a run differs from what the paper says it did, worked out from the run and its cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vidret.data.cache import Coverage
from vidret.data.fingerprint import Fingerprint
from vidret.data.words import counted
from vidret.heads.catalog import options_of, told_name
from vidret.heads.protocols import PROTOCOLS
from vidret.pipelines.config.fitting import HEAD_SETTINGS
from vidret.pipelines.evaluate import Setting
from vidret.pipelines.reporting.published import FINE_TUNED, FROZEN
from vidret.pipelines.training.runs import SOUND, Origin, Run

BACKBONE, BACKBONE_TAG = "ViT-B-32", "openai"
WIDTH = 512
FRAMES, FRAMES_OF_DIDEMO = 12, 30
BATCH, EPOCHS = 32, 5
LR_CLIP, LR_AUDIO = 1e-6, 5e-5
UNSTATED = "not stated"

Kind = Literal["differs", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One point in which a run is not the paper's, or in which the paper leaves it open.

    Args:
        kind: `differs` from what the paper states, or `open` where the paper states nothing.
    """

    point: str
    paper: str
    here: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared with the paper: a run, and the cache and split that it was scored on.

    Args:
        backbone: the encoder of frames and words as it was asked for, `NAME@TAG` or `NAME@PATH`.
    """

    run: Run
    fingerprint: Fingerprint
    backbone: str
    setting: Setting


OWN_HEADS = ("mean", "mean-ff", "s-f", "w-f", "mgfi")

# What the paper leaves open: a setting, what it is called, and the value that follows the equations
# or the common recipe most plainly.
OPEN = {
    "dropout": "dropout behind the feed-forward",
    "hidden": "width of the feed-forward",
    "activation": "activation of the feed-forward",
    "start": "weights of the heads at the start",
    "lr": "learning rate of the heads",
    "schedule": "schedule of the learning rate",
    "warm_up": "share of steps to warm up",
    "weight_decay": "weight decay",
    "decay_to": "what weight decay pulls to",
    "temperature": "temperature of the loss",
    "select_on": "split that picks the epoch",
    "same_video": "other captions of a video in a batch",
    "missing_audio": "videos without sound",
}
# What the equations or the text print: a setting, what it is called, and the printed value.
PRINTED: dict[str, tuple[str, Any]] = {
    "word_weight_scale": ("scale of the softmax over words (7)", "literal"),
    "feed_forward": ("feed-forward of both branches (3, 8)", "shared"),
    "norms": ("layer norm of sentences, words and frames (1, 4)", "shared"),
    "projection_bias": ("bias of the projections (1, 4)", False),
    "word_set": ("what the word branch sees", "words"),
    "directions": ("both directions of the loss (14)", "sum"),
    "audio_weight": ("weight of the sound in a score (12, 13)", 1.0),
    "pairs": ("captions of an epoch", "all"),
    "train_projection": ("training CLIP's last projections alone", False),
    "jitter": ("other frames every epoch", False),
    "ema": ("average of the weights", 0.0),
    "loss_dual_softmax": ("prior of the dual softmax in the loss", 0.0),
    "loss_distillation": ("share of the loss's target that features decide", 0.0),
}


def find_deviations(subject: Subject) -> tuple[Deviation, ...]:
    """Everything known in which a run is not the paper's; what differs stands first."""
    run, facts = subject.run, subject.fingerprint
    found = [
        *_of_method(run),
        *_of_training_set(run, subject.setting),
        *_of_encoders(run),
        *_of_backbone(subject),
        *_of_features(facts, subject.setting.dataset, hears=run.head.endswith(SOUND)),
        *_of_recipe(run),
        *_of_settings(run),
        *_of_videos(subject.setting),
    ]
    return tuple(sorted(found, key=lambda one: one.kind != "differs"))


def encoders_of(run: Run) -> str:
    """What was done to the encoders of a run, in the words of the published rows."""
    return FINE_TUNED if run.has_own_encoders else FROZEN


def _of_method(run: Run) -> Iterator[Deviation]:
    plain = run.head.removesuffix(SOUND)
    if plain in OWN_HEADS:
        return
    page = "docs/hcmi.md" if plain == "hcmi" else "docs/baselines.md"
    yield _differs(
        "method",
        "MGFI, whose recipe all of this is held against",
        f"{told_name(run.head)}: {page} says what differs from its own paper",
    )


def _of_training_set(run: Run, setting: Setting) -> Iterator[Deviation]:
    if run.history and run.fingerprint.dataset != setting.dataset:
        yield _differs("training set", f"that of {setting.dataset}", run.fingerprint.dataset)


def _of_encoders(run: Run) -> Iterator[Deviation]:
    paper = f"CLIP fine-tuned (lr {LR_CLIP:g}), PANN fine-tuned (lr {LR_AUDIO:g})"
    origin = run.origin
    if origin is None or not run.has_own_encoders:
        unchanged = origin is not None and bool(origin.unfreeze)
        reason = "no epoch of fine-tuning was better" if unchanged else "only the heads learned"
        yield _differs("encoders", paper, f"{FROZEN}: {reason}")
        return
    learned = set(origin.unfreeze)
    wanted = {"visual", "text"} | ({"audio"} if run.head.endswith(SOUND) else set())
    rates_differ = origin.lr_clip != LR_CLIP or ("audio" in wanted and origin.lr_audio != LR_AUDIO)
    ways = _ways(origin)
    if learned < wanted or rates_differ or ways:
        rates = f"CLIP's lr {origin.lr_clip:g}, PANN's lr {origin.lr_audio:g}"
        told = ", ".join([*origin.unfreeze, *ways])
        yield _differs("encoders", paper, f"fine-tuned: {told} ({rates})")


def _ways(origin: Origin) -> list[str]:
    """What else a fine-tuning did in another way than the paper."""
    return [
        *origin.limits,
        *([f"adapters of rank {origin.lora}, lr {origin.lr_lora:g}"] if origin.lora else []),
        *([f"layer decay {origin.layer_decay:g}"] if origin.layer_decay != 1 else []),
        *(["BatchNorm trained"] if origin.batchnorm == "train" else []),
        *([f"other pictures by {' and '.join(origin.augment)}"] if origin.augment else []),
    ]


def _of_backbone(subject: Subject) -> Iterator[Deviation]:
    name, paper = subject.fingerprint.backbone, f"{BACKBONE} with OpenAI's weights"
    if name.removesuffix("-quickgelu") != BACKBONE:
        yield _differs("backbone", paper, name)
        return
    _, _, origin = subject.backbone.partition("@")
    if origin == BACKBONE_TAG:
        return
    weights = subject.fingerprint.backbone_weights
    yield Deviation(
        point="weights of the backbone",
        paper=paper,
        here=f"{name} from a file with the hash {weights}; whose it is, the cache does not say",
        kind="open",
    )


def _of_features(facts: Fingerprint, dataset: str, *, hears: bool) -> Iterator[Deviation]:
    frames = FRAMES_OF_DIDEMO if dataset.startswith("didemo") else FRAMES
    if facts.frames != frames:
        yield _differs("frames of a video", str(frames), str(facts.frames))
    if facts.dim != WIDTH:
        yield _differs("width of frames and words", str(WIDTH), str(facts.dim))
    if hears and facts.audio_dim != WIDTH:
        yield _differs("width of the sound", str(WIDTH), f"{facts.audio_dim} ({facts.audio_model})")
    elif hears:
        yield _open("variant of PANN", facts.audio_model)


def _of_recipe(run: Run) -> Iterator[Deviation]:
    settings, hears = run.settings, run.head.endswith(SOUND)
    learns = bool(run.history)
    if learns and settings["batch_size"] != BATCH:
        yield _differs("batch size", str(BATCH), str(settings["batch_size"]))
    audio_batch = settings["audio_batch_size"]
    if hears and audio_batch not in (None, BATCH):
        yield _differs("batch size of the sound head", str(BATCH), str(audio_batch))
    epochs = [settings["epochs"], *([settings["audio_epochs"]] if hears else [])]
    if learns and any(number != EPOCHS for number in epochs):
        paper = f"{EPOCHS}; whether in each stage or in all is open" if hears else str(EPOCHS)
        yield _differs("epochs", paper, " and then ".join(map(str, epochs)))


def _of_settings(run: Run) -> Iterator[Deviation]:
    for name, (point, printed) in PRINTED.items():
        if _matters(name, run) and run.settings[name] != printed:
            yield _differs(point, _told(printed), _as_used(name, run))
    for name, point in OPEN.items():
        if _matters(name, run):
            yield _open(point, _told(run.settings[name]))


def _as_used(name: str, run: Run) -> str:
    """A setting, or what was found where the setting left it to a split."""
    if name == "audio_weight" and run.audio_weight is not None:
        return f"{run.audio_weight.chosen:g}, found on {run.settings['select_on']}"
    return _told(run.settings[name])


def _matters(name: str, run: Run) -> bool:
    """Whether a setting can have changed what this head gives."""
    if name == "audio_weight":
        return run.head.endswith(SOUND)
    if name in HEAD_SETTINGS:
        return name in options_of(run.head)
    return bool(run.history)


def _of_videos(setting: Setting) -> Iterator[Deviation]:
    protocol, coverage = PROTOCOLS.get(setting.protocol), setting.coverage
    if missing := _missing(coverage):
        yield _differs("videos of the split", "all of them", missing)
    published = None if protocol is None else protocol.videos
    if published not in (None, coverage.expected):
        yield _differs(
            "videos of the list", f"{published:,} as published", f"{coverage.expected:,}"
        )
    if setting.dataset == "didemo-by-time":
        yield _open("order of a video's descriptions", "by time")


def _missing(coverage: Coverage) -> str:
    if coverage.found == coverage.expected:
        return ""
    return f"{coverage.found:,} of {counted(coverage.expected, 'video')} found"


def _differs(point: str, paper: str, here: str) -> Deviation:
    return Deviation(point=point, paper=paper, here=here, kind="differs")


def _open(point: str, here: str) -> Deviation:
    return Deviation(point=point, paper=UNSTATED, here=here, kind="open")


def _told(value: object) -> str:
    """A setting as one would say it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "as wide as the frames"  # of all settings here only this one is ever unset
    return f"{value:g}" if isinstance(value, float) else str(value)
