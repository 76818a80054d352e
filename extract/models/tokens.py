"""How a model's tokenizer cuts a caption: its words, the marks around them, and the padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidret.data.errors import ConfigError, MissingError

_WORD_END = "</w>"  # in CLIP's vocabulary, behind the last piece of a word
_PROBES = ("a", "a dog barks at the moon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What stands around the words of a caption.

    Args:
        before: tokens in front of the first word; so is `after` behind the last.
        padding: fills the rest; it may be the end mark again, or a word's own token.
        special: tokens that are no words wherever they come from.
        length: tokens that the model reads.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: int
    special: frozenset[int]
    length: int

    @property
    def most(self) -> int:
        """How many words fit between the marks."""
        return self.length - len(self.before) - len(self.after)

    def around(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Captions as the model wants them: cut, between their marks, padded."""
        tokens = torch.full((len(ids), self.length), self.padding, dtype=torch.long)
        for row, own in enumerate(ids):
            marked = [*self.before, *own[: self.most], *self.after]
            tokens[row, : len(marked)] = torch.tensor(marked, dtype=torch.long)
        return tokens


def load_tokenizer(
    name: str,
    text: Mapping[str, Any],
    place: str,
    *,
    offline: bool,
) -> Any:  # noqa: ANN401 - open_clip names no type for it
    """The tokenizer of a text tower: CLIP's own, or one of the hub.

    Args:
        name: of the model.
        text: the configuration of its text tower.
        place: folder or repository of a tokenizer of the hub.
        offline: read only what is on this machine.

    Raises:
        MissingError: a package or the tokenizer's files are not there.
    """
    import open_clip

    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    options = dict(text.get("tokenizer_kwargs") or {})
    if not text.get("hf_tokenizer_name"):
        return open_clip.SimpleTokenizer(context_length=length, **options)
    try:
        return open_clip.tokenizer.HFTokenizer(
            place,
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            local_files_only=offline,
            trust_remote_code=False,
            **options,
        )
    except ImportError as error:
        raise MissingError(
            f"{name} reads text with a tokenizer of the hub, which needs a package that is not "
            f"installed ({_first_line(error)}): pip install transformers sentencepiece"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise MissingError(
            f"the tokenizer of {name} cannot be read from {place} ({_first_line(error)}): put "
            "tokenizer_config.json and the files beside it, as the hub has them, into the folder "
            "of the weights"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def marks_of(name: str, tokenizer: Any) -> Marks:  # noqa: ANN401 - open_clip names no type for it
    """The marks of a tokenizer.

    Raises:
        ConfigError: the tokenizer cuts captions in a way that leaves its words unknown.
    """
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        marks = _own_marks(tokenizer)
    elif isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):
        marks = _hub_marks(tokenizer)
    else:
        marks = None
    if marks is None or not _same(tokenizer, marks):
        raise ConfigError(
            f"the tokenizer of {name} cuts captions in another way than vidret can follow, so "
            "their words would be guessed: choose another model"
        )
    return marks


def word_ids(tokenizer: Any, marks: Marks, text: str) -> list[int]:  # noqa: ANN401 - as above
    """Tokens of one caption, all of them; the marks are no words that it may hold.

    They are taken out of the tokens, since `&lt;END_OF_TEXT>` turns into a mark as well.
    """
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        ids = tokenizer.encode(text)
    else:
        ids = _hub_ids(tokenizer, text, marked=False)
    return [token for token in ids if token not in marks.special]


def _own_marks(tokenizer: Any) -> Marks | None:  # noqa: ANN401 - as above
    """Padding is token 0, which is a word as well: `!`."""
    if tokenizer.reduction_fn is not None:  # it drops words by chance
        return None
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    return Marks(
        before=(start,),
        after=(end,),
        padding=0,
        special=frozenset((start, end)),
        length=tokenizer.context_length,
    )


def _hub_marks(tokenizer: Any) -> Marks | None:  # noqa: ANN401 - as above
    """What a tokenizer of the hub adds to a caption, found by asking it with and without."""
    inner = tokenizer.tokenizer
    marked = _hub_ids(tokenizer, _PROBES[0], marked=True)
    plain = _hub_ids(tokenizer, _PROBES[0], marked=False)
    places = range(len(marked) - len(plain) + 1)
    at = [place for place in places if plain and marked[place : place + len(plain)] == plain]
    if tokenizer.tokenizer_mode or inner.pad_token_id is None or not at:
        return None
    return Marks(
        before=tuple(marked[: at[0]]),
        after=tuple(marked[at[0] + len(plain) :]),
        padding=inner.pad_token_id,
        special=frozenset(inner.all_special_ids) - {inner.unk_token_id},
        length=tokenizer.context_length,
    )


def _hub_ids(tokenizer: Any, text: str, *, marked: bool) -> list[int]:  # noqa: ANN401 - as above
    cleaned = tokenizer.clean_fn(text)
    ids = tokenizer.tokenizer(cleaned, add_special_tokens=marked, verbose=False)["input_ids"]
    return [int(token) for token in ids]


def _same(tokenizer: Any, marks: Marks) -> bool:  # noqa: ANN401 - as above
    """Whether the tokenizer itself gives the same, for a caption that fits."""
    own = tokenizer(list(_PROBES))
    ids = [word_ids(tokenizer, marks, text) for text in _PROBES]
    return torch.equal(own, marks.around(ids))


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:  # noqa: ANN401 - as above
    """Each token as it can be read; the last piece of a word ends in `</w>`, as CLIP writes it.

    Bytes of a sign that lies in several pieces are escaped as file names have them
    (`surrogateescape`): pieces that are put together can be decoded again.
    """
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        return [_readable(tokenizer, tokenizer.decoder[token]) for token in ids]
    pieces = tokenizer.tokenizer.convert_ids_to_tokens(list(ids))
    begins = ["\u2581", "\u0120"]  # how others mark the first piece of a word
    if not any(piece[:1] in begins for piece in pieces):
        return [f"{piece}{'' if piece.endswith(_WORD_END) else _WORD_END}" for piece in pieces]
    ends = [piece[:1] in begins for piece in pieces[1:]] + [True]
    return [
        piece.lstrip("".join(begins)) + (_WORD_END if last else "")
        for piece, last in zip(pieces, ends, strict=True)
    ]


def _readable(tokenizer: Any, piece: str) -> str:  # noqa: ANN401 - as above
    """A piece of CLIP's vocabulary, whose letters stand for bytes."""
    word, end = piece.removesuffix(_WORD_END), piece.endswith(_WORD_END)
    read = bytes(tokenizer.byte_decoder[letter] for letter in word).decode(
        "utf-8", "surrogateescape"
    )
    return read + (_WORD_END if end else "")
