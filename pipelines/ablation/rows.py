"""The rows of a table: heads times variations, each made once however many settings it ignores."""

import logging
import re
from dataclasses import dataclass
from difflib import get_close_matches

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError
from vidret.heads.catalog import options_of, told_name
from vidret.pipelines.config.fitting import HEAD_SETTINGS, AblateConfig, FitConfig
from vidret.pipelines.config.varying import Changes, change_text, variations_of, varied
from vidret.pipelines.training.fitting import UNTRAINED, hears
from vidret.pipelines.training.runs import SOUND

log = logging.getLogger(__name__)

TABLE_1 = ("mean", "mean-ff", "s-f", "w-f", "mgfi", "w-f+cmfi", "s-f+cmfi", "mgfi+cmfi")
PAPER_NAMES = {
    "mean": "base",
    "mean-ff": "base + FF (control)",
    "s-f": "s-f",
    "w-f": "w-f",
    "mgfi": "s-f + w-f",
}
OF_SOUND = (
    "audio_epochs",
    "audio_batch_size",
    "audio_lr",
    "audio_weight_decay",
    "audio_weight",
)
OF_DISTILLATION = ("loss_distillation_by", "loss_distillation_scale")
OF_INFO_NCE = ("loss_dual_softmax", "loss_distillation", *OF_DISTILLATION)
NEEDS = {"hcmi_positives": "hcmi_denoise", "hcmi_margin": "hcmi_margin_weight"}
WITH_OWN_LOSS = ("hcmi",)  # while it learns from frames and words
OF_THE_FIRST_STAGE = ("epochs", "lr", "temperature")
FOR_SOUND_TOO = ("batch_size", "weight_decay")  # unless the sound has a value of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What one row of a table is, before anything is fitted.

    Args:
        head: its name.
        changes: what differs from the settings that all rows share.
        ignored: settings that vary in the table and play no part here.
    """

    head: str
    changes: Changes = ()
    ignored: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the paper's table calls the head, and what varies."""
        plain = self.head.removesuffix(SOUND)
        name = PAPER_NAMES.get(plain, told_name(plain))
        return self._with_changes(f"{name} + a-s" if self.head.endswith(SOUND) else name)

    @property
    def name(self) -> str:
        """The head as one types it, and what varies."""
        return self._with_changes(self.head)

    def _with_changes(self, name: str) -> str:
        told = ", ".join([name, *(change_text(*change) for change in self.changes)])
        return (
            f"{told} ({', '.join(f'any {one}' for one in self.ignored)})" if self.ignored else told
        )


def kinds_of_rows(config: AblateConfig, cache: FeatureCache) -> list[Kind]:
    """Every head with every variation that it does not ignore."""
    heads, variations = config.heads or _heads_of_the_paper(cache), variations_of(config)
    rows = (kind_of(config, head, changes) for head in heads for changes in variations)
    return list(dict.fromkeys(rows))


def kind_of(config: AblateConfig, head: str, changes: Changes) -> Kind:
    """A row without the changes that its head does not notice."""
    settings = varied(config, changes)
    ignored = tuple(name for name, _ in changes if is_ignored(name, head, settings))
    kept = tuple(change for change in changes if change[0] not in ignored)
    return Kind(head=head, changes=kept, ignored=ignored)


def is_ignored(name: str, head: str, settings: FitConfig) -> bool:
    """Whether a head comes out the same whatever the value of a setting."""
    plain, listens = head.removesuffix(SOUND), head.endswith(SOUND)
    learns_first = plain != UNTRAINED or settings.train_projection
    if name in NEEDS and not getattr(settings, NEEDS[name]):
        return True
    if name in HEAD_SETTINGS:
        return name not in options_of(head)
    if name in OF_SOUND:
        return not listens
    if name == "train_projection":
        return False
    if name == "projection_lr":
        return not settings.train_projection
    if name in OF_DISTILLATION and not settings.loss_distillation:
        return True
    if name in OF_INFO_NCE and plain in WITH_OWN_LOSS:
        return not listens
    if name in OF_THE_FIRST_STAGE:
        return not learns_first
    if name in FOR_SOUND_TOO and not learns_first:
        return not listens or getattr(settings, f"audio_{name}") is not None
    return not (learns_first or listens)


def base_of(config: AblateConfig, rows: list[Kind]) -> Kind:
    """The row that the others are compared with.

    Raises:
        ConfigError: no row has that head or that label.
    """
    if config.base is None:
        return rows[0]
    asked = re.sub(r" *= *", "=", config.base)  # tables show labels with spaces around it
    found = [row for row in rows if asked in (row.label, row.name, row.head)]
    if found:
        return found[0]
    names = list(dict.fromkeys(name for row in rows for name in (row.head, row.label)))
    close = get_close_matches(config.base, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(
        f"base is {config.base!r}, and no row is called so: {hint}"
        f"The rows are {'; '.join(row.label for row in rows)}"
    )


def _heads_of_the_paper(cache: FeatureCache) -> tuple[str, ...]:
    """Table 1 and our control row; without the rows of the sound where there is none."""
    if hears(cache):
        return TABLE_1
    log.info("No video of the train split has sound: the rows with a-s are left out")
    return tuple(head for head in TABLE_1 if not head.endswith(SOUND))
