"""What `--unfreeze` and `--augment` say: which weights of the encoders learn, and from what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidret.pipelines.config.declaring import check_list, require

if TYPE_CHECKING:
    from vidret.pipelines.config.fitting import FinetuneConfig

ENCODERS = ("visual", "text", "audio")  # CLIP's two towers and the sound network
ALL, NONE, NORMS = "all", "none", "norms"
AUGMENTATIONS = ("crop", "flip")
_LAST = re.compile(r"last:(\d+)")
WORDS = f"{ALL}, {NONE}, or some of {', '.join(ENCODERS)}, last:N, {NORMS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfrozen:
    """What learns of the encoders.

    Args:
        encoders: those that learn, in the order of `ENCODERS`.
        last: of each only the last so many blocks and what comes after them; None is no limit.
        norms: the norms; where `last` is given too, both.
    """

    encoders: tuple[str, ...]
    last: int | None = None
    norms: bool = False

    @property
    def whole(self) -> bool:
        """Whether all weights of these encoders learn."""
        return self.last is None and not self.norms

    @property
    def words(self) -> tuple[str, ...]:
        """What limits them, as it is typed."""
        last = () if self.last is None else (f"last:{self.last}",)
        return (*last, NORMS) if self.norms else last


def read_unfreeze(words: Sequence[str]) -> Unfrozen:
    """What some words of `--unfreeze` mean; words of encoders and of weights may be mixed.

    Raises:
        ConfigError: a word means nothing, or two of them are at odds.
    """
    said = ",".join(words)
    check_list("unfreeze", words)
    odd = [word for word in words if not _is_known(word)]
    require(not odd, f"unfreeze is {said}: give {WORDS}")
    lasts = [int(found[1]) for word in words if (found := _LAST.fullmatch(word))]
    alone = [word for word in words if word in (ALL, NONE)]
    require(len(words) == 1 or NONE not in alone, f"unfreeze is {said}: {NONE} stands alone")
    encoders = tuple(one for one in ENCODERS if one in words)
    require(
        not (alone and encoders), f"unfreeze is {said}: name encoders, or all of them, not both"
    )
    require(len(lasts) < 2, f"unfreeze is {said}: give one last:N")
    return Unfrozen(
        encoders=() if NONE in alone else encoders or ENCODERS,
        last=lasts[0] if lasts else None,
        norms=NORMS in words,
    )


def check_encoders(config: "FinetuneConfig") -> None:
    """Refuse settings that mean nothing, and those that no encoder would follow.

    Raises:
        ConfigError: there is such a setting.
    """
    unfrozen = read_unfreeze(config.unfreeze)
    _check_augment(config.augment)
    require(config.lora >= 0, f"lora is {config.lora}: give a rank of 1 or more, or 0 for none")
    require(
        0 < config.layer_decay <= 1,
        f"layer_decay is {config.layer_decay}: give a number above 0, and 1 at the most",
    )
    if config.resume is None:  # else it is the run that says what learns
        idle = " and ".join(_idle(config, unfrozen))
        way = "unfreeze some encoder" if config.e2e else "add --e2e"
        require(not idle, f"{idle} would change nothing, as only the heads learn here: {way}")
    require(
        config.batchnorm == "eval" or ("audio" in unfrozen.encoders and not config.lora),
        "batchnorm is train, but the norms of the sound network keep still: unfreeze audio, "
        "without --lora",
    )
    require(
        config.batchnorm == "eval" or not (config.chunk or config.checkpointing),
        "batchnorm is train, and chunk and checkpointing would show the sound network parts of a "
        "batch, or the same twice: leave them out",
    )
    require(
        not (config.lora and unfrozen.norms),
        "lora adds to matrices, and unfreeze asks for norms, which are none: leave one out",
    )


def _idle(config: "FinetuneConfig", unfrozen: Unfrozen) -> list[str]:
    """The settings that nothing would follow and that are not as usual, as one would type them."""
    if config.e2e and unfrozen.encoders:
        return []
    of_videos = {  # pictures may differ before frozen encoders, too
        f"unfreeze {','.join(config.unfreeze)}": tuple(config.unfreeze) != (ALL,),
        f"augment {','.join(config.augment or ())}": config.augment is not None,
    }
    of_encoders = {
        f"lora {config.lora}": config.lora > 0,
        f"layer_decay {config.layer_decay}": config.layer_decay != 1,
        f"batchnorm {config.batchnorm}": config.batchnorm != "eval",
        f"save {config.save}": config.save != "full",
    }
    given = of_encoders if config.e2e else of_videos | of_encoders
    return [words for words, is_given in given.items() if is_given]


def _check_augment(augment: Sequence[str] | None) -> None:
    """Refuse words that name no way to change pictures."""
    if augment is None:
        return
    check_list("augment", augment)
    require(
        set(augment) <= set(AUGMENTATIONS),
        f"augment is {','.join(augment)}: give {' or '.join(AUGMENTATIONS)}, or both",
    )


def _is_known(word: str) -> bool:
    return word in (ALL, NONE, NORMS, *ENCODERS) or _LAST.fullmatch(word) is not None
