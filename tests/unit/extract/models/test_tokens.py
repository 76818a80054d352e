import json
import sys

import open_clip
import pytest
import torch
from making.backbones import MODELS, SQUASHED, random_model, save_folder

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.clip import load_clip
from vidret.extract.models.tokens import load_tokenizer, marks_of, token_texts, word_ids

WORDS = ("a", "dog", "barks", "at", "the", "moon", "bell", "rings", "</w>")
HUB = {"hf_tokenizer_name": "org/siglip", "tokenizer_kwargs": {"clean": "canonicalize"}}


@pytest.fixture(scope="module")
def clip_tokenizer():
    return open_clip.SimpleTokenizer(context_length=8)


def test_marks_of_clips_own_tokenizer_are_its_start_and_its_end(clip_tokenizer):
    marks = marks_of("model", clip_tokenizer)
    assert (marks.before, marks.after, marks.padding) == ((49406,), (49407,), 0)
    assert marks.most == 6


@pytest.mark.parametrize("text", ["a bell", "", "! ! !", "a b c d e f g h i j"])
def test_marked_words_are_what_the_tokenizer_gives(clip_tokenizer, text):
    marks = marks_of("model", clip_tokenizer)
    ids = word_ids(clip_tokenizer, marks, text)
    assert torch.equal(marks.around([ids]), clip_tokenizer([text]))


@pytest.mark.parametrize("text", ["a bell rings", "antidisestablishmentarianism", "a 🦊🦊 ünit!"])
def test_pieces_put_together_are_the_words_that_were_read(clip_tokenizer, text):
    marks = marks_of("model", clip_tokenizer)
    pieces = token_texts(clip_tokenizer, word_ids(clip_tokenizer, marks, text))
    whole = "".join(pieces).encode("utf-8", "surrogateescape").decode("utf-8")
    assert whole.replace("</w>", "") == text.replace(" ", "")
    assert pieces[-1].endswith("</w>")


def test_a_tokenizer_that_drops_words_by_chance_is_refused():
    tokenizer = open_clip.SimpleTokenizer(context_length=8, reduction_mask="random")
    with pytest.raises(ConfigError, match="the tokenizer of model cuts captions in another way"):
        marks_of("model", tokenizer)


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="cuts captions in another way"):
        marks_of("model", lambda texts: texts)


def test_the_tokenizer_of_a_text_tower_without_one_of_the_hub_is_clips_own():
    tokenizer = load_tokenizer("model", {"context_length": 12}, "", offline=True)
    assert isinstance(tokenizer, open_clip.SimpleTokenizer)
    assert tokenizer.context_length == 12


def test_without_transformers_a_tokenizer_of_the_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingError, match=r"needs a package .*: pip install transformers"):
        load_tokenizer("ViT-B-16-SigLIP", HUB, "timm/ViT-B-16-SigLIP", offline=True)


# Tokenizers of the hub; `pip install vidret[siglip]` brings what they need


def hub_tokenizer(folder, *, before=(), padding="</s>"):
    """A small tokenizer as the hub has it: SigLIP's end mark is its padding, too."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(("<pad>", "</s>", "<s>", "<unk>"))}
    vocabulary |= {word: number + len(vocabulary) for number, word in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=" ".join([*before, "$A", "</s>"]), special_tokens=[("</s>", 1), ("<s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="</s>",
        bos_token="<s>",
        pad_token=padding,
        unk_token="<unk>",
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("before", [(), ("<s>",)], ids=["SigLIP", "MetaCLIP 2"])
@pytest.mark.parametrize("padding", ["</s>", "<pad>"])
def test_marks_of_a_tokenizer_of_the_hub_are_found(tmp_path, before, padding):
    hub_tokenizer(tmp_path, before=before, padding=padding)
    tokenizer = load_tokenizer("model", HUB | {"context_length": 8}, str(tmp_path), offline=True)
    marks = marks_of("model", tokenizer)
    assert (marks.before, marks.after) == ((2,) * len(before), (1,))
    assert marks.padding == (1 if padding == "</s>" else 0)
    for text in ("a dog barks", "", "a dog barks at the moon a dog barks at the moon", "a cat"):
        ids = word_ids(tokenizer, marks, text)
        assert torch.equal(marks.around([ids]), tokenizer([text])), text


def test_a_mark_inside_a_caption_ends_nothing_where_the_tokenizer_would_end(tmp_path):
    text = {"hf_tokenizer_name": "org/model", "context_length": 8}
    tokenizer = load_tokenizer("model", text, str(hub_tokenizer(tmp_path)), offline=True)
    marks = marks_of("model", tokenizer)
    assert tokenizer(["a </s> dog"])[0].tolist()[:3] == [4, 1, 5]
    assert word_ids(tokenizer, marks, "a </s> dog") == word_ids(tokenizer, marks, "a dog")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A folder as the hub has SigLIP: its model, its preprocessing, its tokenizer."""
    folder = tmp_path_factory.mktemp("siglip") / "repository"
    small = MODELS["small-siglip"]
    architecture = small | {"text_cfg": small["text_cfg"] | HUB}
    model = random_model("small-siglip")
    hub_tokenizer(save_folder(model, folder, architecture, SQUASHED))
    return folder, model


def test_a_siglip_from_a_folder_gives_the_words_before_its_first_end(siglip):
    folder, model = siglip
    encoder = load_clip(f"local-dir:{folder}")
    texts = ["a dog barks", "the moon", "a " * 20, ""]
    with torch.inference_mode():
        encoded = encoder.encode_texts(texts, "cpu")
        expected = model.encode_text(encoder.tokenizer(texts))
    assert [len(one.tokens) for one in encoded] == [3, 2, 11, 0]
    assert [one.truncated for one in encoded] == [False, False, True, False]
    for one, sentence in zip(encoded, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(one.sentence), sentence)
    assert encoder.first_word == 0


def test_a_tokenizer_that_lies_beside_the_weights_needs_no_hub(siglip, tmp_path_factory):
    folder, _ = siglip
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    place = tmp_path_factory.mktemp("registered")
    (place / "small-siglip-hub.json").write_text(json.dumps(config))
    open_clip.add_model_config(place)
    encoder = load_clip(f"small-siglip-hub@{folder / 'open_clip_model.safetensors'}")
    assert encoder.tokenizer(["a dog"])[0, :3].tolist() == [4, 5, 1]


def test_a_tokenizer_that_is_nowhere_is_named(siglip, tmp_path):
    folder, _ = siglip
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(MissingError, match=r"the tokenizer of local-dir:.* cannot be read from"):
        load_clip(f"local-dir:{tmp_path}")
