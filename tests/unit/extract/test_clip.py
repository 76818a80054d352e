import json
import logging
import pickle
import socket

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2

from vidret.data.errors import ConfigError, MissingError
from vidret.data.synth.film import frames_of
from vidret.data.synth.script import write_script
from vidret.extract.clip import load_clip
from vidret.extract.weights.files import hash_file
from vidret.extract.weights.missing import missing_weights

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SMALL, OWN_TOWER, SQUASHED, LAST = "test-small", "test-tower", "test-squashed", "test-last"


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    """Small models that open_clip knows by name, for as long as this module is tested."""
    folder = tmp_path_factory.mktemp("configs")
    variants = {
        SMALL: {},
        OWN_TOWER: {"custom_text": True},
        SQUASHED: {},
        LAST: {"custom_text": True, "text_cfg": {**CONFIG["text_cfg"], "pool_type": "last"}},
    }
    for name, changes in variants.items():
        (folder / f"{name}.json").write_text(json.dumps({**CONFIG, **changes}))
    open_clip.add_model_config(folder)
    return folder


@pytest.fixture(scope="module")
def tiny():
    return load_clip("tiny")


@pytest.fixture(scope="module")
def small_weights(configs):
    """Random weights of the small model, in both forms that people have."""
    torch.manual_seed(0)
    state = open_clip.create_model(SMALL).state_dict()
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, configs / "w.safetensors"
    )
    torch.save(state, configs / "w.pt")
    return configs


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"somebody used the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def encode(encoder, *texts):
    with torch.inference_mode():
        return encoder.encode_texts(texts, "cpu")


# Words and sentences


def test_the_row_of_the_end_token_is_the_sentence_and_both_are_what_encode_text_gives(tiny):
    texts = ["a red circle at sea", "bees are humming", "x"]
    tokens = tiny.tokenizer(texts)
    with torch.inference_mode():
        sentences, words = tiny.encode_tokens(tokens)
        expected = tiny.model.encode_text(tokens)
    ends = (tokens == tiny.tokenizer.eot_token_id).int().argmax(-1)
    torch.testing.assert_close(words[torch.arange(3), ends], sentences)
    torch.testing.assert_close(sentences, expected)


def test_encoded_captions_are_rows_of_the_same_forward(tiny):
    texts = ["a red circle at sea", "a bell!", ""]
    tokens = tiny.tokenizer(texts)
    with torch.inference_mode():
        sentences, words = tiny.encode_tokens(tokens)
    for row, encoded in enumerate(encode(tiny, *texts)):
        np.testing.assert_allclose(encoded.sentence, sentences[row], rtol=1e-5, atol=1e-6)
        count = len(encoded.tokens)
        np.testing.assert_allclose(encoded.words, words[row, 1 : 1 + count], rtol=1e-5, atol=1e-6)


def test_words_are_the_tokens_strictly_between_start_and_end(tiny):
    text = "A drum, beside the snow-white honeycomb cell"
    (encoded,) = encode(tiny, text)
    assert encoded.tokens.tolist() == tiny.tokenizer.encode(text)
    assert encoded.words.shape == (len(encoded.tokens), tiny.dim)
    assert not encoded.truncated


def test_an_exclamation_mark_is_a_word_though_its_token_is_zero(tiny):
    (encoded,) = encode(tiny, "! ! stop !")
    assert encoded.tokens.tolist().count(tiny.tokenizer.encode("!")[0]) == 3
    single = encode(tiny, "!")[0]
    assert len(single.words) == 1
    zeroth = tiny.tokenizer.decoder[0]
    assert encode(tiny, zeroth)[0].tokens.tolist() == tiny.tokenizer.encode(zeroth)


@pytest.mark.parametrize("text", ["", "   ", "<end_of_text>"])
def test_an_empty_caption_has_a_sentence_and_no_words(tiny, text):
    (encoded,) = encode(tiny, text)
    assert encoded.words.shape == (0, tiny.dim)
    assert encoded.tokens.shape == (0,)
    assert np.isfinite(encoded.sentence).all()
    np.testing.assert_allclose(encoded.sentence, encode(tiny, "")[0].sentence, rtol=1e-5)


@pytest.mark.parametrize(
    "mark", ["<end_of_text>", "<start_of_text>", "<END_OF_TEXT>", "&lt;end_of_text&gt;"]
)
def test_a_mark_inside_a_caption_ends_nothing(tiny, mark):
    marked, plain = encode(tiny, f"a bell {mark} rings at sea", "a bell rings at sea")
    assert marked.tokens.tolist() == plain.tokens.tolist()
    np.testing.assert_allclose(marked.sentence, plain.sentence, rtol=1e-5, atol=1e-6)


def test_a_caption_that_is_too_long_is_cut_and_says_so(tiny):
    most = tiny.tokenizer.context_length - 2
    longer, exact = encode(tiny, "bell " * (most + 1), "bell " * most)
    assert (longer.truncated, exact.truncated) == (True, False)
    assert len(longer.words) == len(exact.words) == most
    np.testing.assert_allclose(longer.sentence, exact.sentence, rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        expected = tiny.model.encode_text(tiny.tokenizer(["bell " * 100]))[0]
    np.testing.assert_allclose(longer.sentence, expected, rtol=1e-5, atol=1e-6)


def test_a_caption_is_encoded_alone_as_among_others(tiny):
    texts = ["a bell", "a far longer caption about a red circle in the snow", "鳥が鳴く 🐦"]
    for alone, among in zip([encode(tiny, t)[0] for t in texts], encode(tiny, *texts), strict=True):
        np.testing.assert_allclose(alone.sentence, among.sentence, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(alone.words, among.words, rtol=1e-4, atol=1e-5)


# Frames


@pytest.mark.parametrize("size", [(96, 128), (65, 131), (240, 101), (64, 64), (3, 5), (71, 64)])
def test_a_frame_is_prepared_as_pil_does_it(tiny, size):
    # Not up to black and white: PIL and torch cut an overshoot off after different passes.
    frame = np.random.default_rng(0).integers(60, 196, (*size, 3), dtype=np.uint8)
    pil = v2.Compose(
        [v2.Resize(64, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(64)]
    )(Image.fromarray(frame))
    prepared = tiny.prepare(frame)
    assert prepared.dtype == torch.uint8
    expected = np.asarray(pil).astype(int).transpose(2, 0, 1)
    assert np.abs(prepared.numpy().astype(int) - expected).max() <= 1


def test_a_drawn_frame_is_embedded_as_by_open_clips_own_preprocessing(tiny):
    frame = next(frames_of(write_script(54, 0)[0]))
    own = open_clip.image_transform(64, is_train=False)(Image.fromarray(frame))
    with torch.inference_mode():
        expected = tiny.model.encode_image(own[None])
        found = tiny.encode_frames(tiny.prepare(frame)[None])
    assert float(torch.cosine_similarity(found, expected)) > 0.999
    assert found.shape == (1, tiny.dim)


def test_an_array_that_is_no_copy_can_be_prepared(tiny):
    frame = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    turned = np.rot90(frame)
    assert torch.equal(tiny.prepare(turned), tiny.prepare(turned.copy()))


def test_frames_take_gradients_for_fine_tuning(tiny):
    tiny.encode_frames(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).sum().backward()
    gradients = [p.grad for p in tiny.model.visual.parameters() if p.grad is not None]
    assert gradients
    tiny.zero_grad(set_to_none=True)


# The bundled model


def test_the_bundled_model_says_what_it_is(tiny):
    assert (tiny.name, tiny.dim) == ("tiny", 128)
    assert not any(module.training for module in tiny.modules())
    assert 1 < tiny.logit_scale <= 100.01
    config = json.loads(tiny.config)
    assert config["quick_gelu"] is True
    assert config["vision_cfg"]["image_size"] == tiny.pixels.size == 64
    assert "bicubic-antialias 64 centre-crop" in tiny.pixels.description


def test_the_bundled_model_is_loaded_twice_the_same(tiny):
    again = load_clip("tiny")
    assert again.weights == tiny.weights
    assert np.array_equal(encode(again, "a bell")[0].words, encode(tiny, "a bell")[0].words)


# Other weights


@pytest.mark.parametrize("file", ["w.safetensors", "w.pt"])
@pytest.mark.usefixtures("no_network")
def test_weights_come_from_a_file(small_weights, file):
    path = small_weights / file
    encoder = load_clip(f"{SMALL}@{path}")
    expected = torch.load(small_weights / "w.pt", weights_only=True)
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert (encoder.name, encoder.dim, encoder.weights) == (SMALL, 16, hash_file(path))
    assert json.loads(encoder.config)["quick_gelu"] is False
    assert not encoder.model.training


@pytest.mark.usefixtures("no_network")
def test_a_model_with_a_text_tower_of_its_own_gives_words_too(configs):
    torch.manual_seed(1)
    torch.save(open_clip.create_model(OWN_TOWER).state_dict(), configs / "tower.pt")
    encoder = load_clip(f"{OWN_TOWER}@{configs / 'tower.pt'}")
    (encoded,) = encode(encoder, "a bell rings")
    with torch.inference_mode():
        tokens = encoder.tokenizer(["a bell rings"])
        expected = encoder.model.encode_text(tokens)[0]
        _, rows = encoder.encode_tokens(tokens)
    assert encoder.dim == 16
    assert encoded.words.shape == (3, 16)
    np.testing.assert_allclose(encoded.sentence, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rows[0, 4], expected)


def test_a_model_whose_words_cannot_be_told_is_refused(configs):
    torch.save(open_clip.create_model(LAST).state_dict(), configs / "last.pt")
    with pytest.raises(ConfigError, match="test-last reads text in another way"):
        load_clip(f"{LAST}@{configs / 'last.pt'}")


def test_a_model_that_wants_its_pictures_otherwise_is_refused(small_weights, monkeypatch):
    def squashed(*arguments, **options):
        model = create(*arguments, **options)
        open_clip.factory.set_model_preprocess_cfg(
            model, {**model.visual.preprocess_cfg, "resize_mode": "squash"}
        )
        return model

    create = open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", squashed)
    with pytest.raises(ConfigError, match=r"test-squashed wants pictures as .*squash"):
        load_clip(f"{SQUASHED}@{small_weights / 'w.pt'}")


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def write_wrong(path, kind):
    if kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other model":
        torch.save({"weight": torch.ones(3)}, path)
    elif kind == "no tensors":
        torch.save([1, 2], path)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"state_dict": Code()}, protocol=2))


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["text", "empty", "folder", "other model", "no tensors", "code"])
def test_a_file_without_the_models_weights_is_named_in_one_sentence(tmp_path, capsys, ending, kind):
    path = tmp_path / f"wrong.{ending}"
    write_wrong(path, kind)
    with pytest.raises(
        MissingError, match=rf"wrong\.{ending} cannot be loaded .*{SMALL}"
    ) as caught:
        load_clip(f"{SMALL}@{path}")
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert message.endswith(
        "give the file that belongs to this model, as safetensors or a plain state dict"
    )
    assert "\n" not in message
    assert "weights_only" not in message
    assert "never be printed" not in capsys.readouterr().out


def test_weights_of_another_size_name_what_does_not_fit(small_weights):
    with pytest.raises(MissingError, match=r"w\.pt cannot be loaded .*width changed"):
        load_clip(f"ViT-B-32-quickgelu@{small_weights / 'w.pt'}")


def test_a_model_without_weights_gets_the_lines_for_the_settings():
    with pytest.raises(MissingError) as caught:
        load_clip("ViT-B-32-quickgelu")
    message = str(caught.value)
    assert '\n[extract]\nbackbone = "ViT-B-32-quickgelu@/path/to/weights.safetensors"\n' in message
    assert str(missing_weights("ViT-B-32-quickgelu")) == message


@pytest.mark.usefixtures("no_network")
def test_a_path_that_is_not_there_is_no_tag_either():
    with pytest.raises(MissingError, match=r"/absent/w\.pt is no file .*one of the tags openai"):
        load_clip("ViT-B-32-quickgelu@/absent/w.pt")


@pytest.mark.parametrize("value", ["1", "true", "ON"])
@pytest.mark.usefixtures("no_network")
def test_a_tag_is_refused_where_the_environment_forbids_the_hub(monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(MissingError, match="lie on the hub, and this run is offline"):
        load_clip("ViT-B-32-quickgelu@openai", offline=False)


@pytest.mark.usefixtures("no_network")
def test_a_tag_is_refused_offline_before_anything_touches_the_network():
    with pytest.raises(MissingError, match=r"this run is offline: .*ViT-B-32-quickgelu@PATH"):
        load_clip("ViT-B-32-quickgelu@openai", offline=True)


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        ("ViT-B-32@openai", "QuickGELU, and ViT-B-32 computes GELU: ask for ViT-B-32-quickgelu@"),
        ("ViT-L-14@metaclip_400m", "ask for ViT-L-14-quickgelu@metaclip_400m"),
        ("ViT-B-32-quickgelu@laion2b_e16", "is no file with weights"),
        ("roberta-ViT-B-32@laion2b_s12b_b32k", "ask for other weights"),
    ],
)
@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.usefixtures("no_network")
def test_weights_for_another_activation_are_refused(spec, advice, offline):
    with pytest.raises((ConfigError, MissingError), match=advice):
        load_clip(spec, offline=offline)


def test_an_unknown_model_gets_a_near_name():
    with pytest.raises(ConfigError, match=r"no model 'ViT-B-23': did you mean ViT-B-\d+"):
        load_clip("ViT-B-23@openai")
    with pytest.raises(ConfigError, match=r"see open_clip\.list_models\(\)"):
        load_clip("???")


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_the_published_model_is_loaded_from_a_file(tmp_path, caplog):
    name = "ViT-B-32-quickgelu"
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        encoder = load_clip(f"{name}@{path}")
    assert not caplog.records
    assert (encoder.dim, encoder.pixels.size) == (512, 224)
    assert json.loads(encoder.config)["quick_gelu"] is True
    (encoded,) = encode(encoder, "a dog barks at the moon!")
    assert encoded.words.shape == (len(encoder.tokenizer.encode("a dog barks at the moon!")), 512)
    with torch.inference_mode():
        expected = model.eval().encode_text(encoder.tokenizer(["a dog barks at the moon!"]))[0]
    np.testing.assert_allclose(encoded.sentence, expected, rtol=1e-4, atol=1e-5)
