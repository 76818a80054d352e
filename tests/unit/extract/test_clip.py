import json
import logging
import pickle
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
from making.backbones import (
    MODELS,
    SQUASHED,
    contiguous,
    random_model,
    register_models,
    save_archive,
    save_checkpoint,
    save_folder,
    save_safetensors,
)
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2

from vidret.data.errors import ConfigError, MissingError
from vidret.data.synth.film import frames_of
from vidret.data.synth.script import write_script
from vidret.extract.clip import load_clip
from vidret.extract.models.pictures import Pixels, pixels_of
from vidret.extract.weights.files import hash_file
from vidret.extract.weights.missing import PUBLISHED_AT, missing_weights

SMALL = "small"


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    """Small models that open_clip knows by name, for as long as this module is tested."""
    folder = tmp_path_factory.mktemp("configs")
    register_models(folder)
    return folder


@pytest.fixture(scope="module")
def tiny():
    return load_clip("tiny")


@pytest.fixture(scope="module")
def small():
    return random_model(SMALL)


@pytest.fixture(scope="module")
def small_weights(small, tmp_path_factory):
    """Random weights of the small model, in the forms that people have."""
    folder = tmp_path_factory.mktemp("weights")
    save_safetensors(small, folder / "w.safetensors")
    torch.save(small.state_dict(), folder / "w.pt")
    torch.save(small.state_dict(), folder / "w.bin")
    torch.save({"state_dict": small.state_dict()}, folder / "legacy.pth")
    torch.save(small.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    save_checkpoint(random_model(SMALL), folder / "epoch_3.pt")
    return folder


@pytest.fixture(scope="module", params=list(MODELS))
def any_model(request, tmp_path_factory):
    """An encoder of every class of models, and the model that its weights came from."""
    model = random_model(request.param)
    path = save_safetensors(model, tmp_path_factory.mktemp("any") / "w.safetensors")
    return load_clip(f"{request.param}@{path}"), model


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


# Every class of models


TEXTS = ("a bell rings", "x", "a far longer caption about a red circle in the snow", "")


def test_sentences_are_those_of_encode_text_and_lie_at_the_token_that_the_tower_pools(any_model):
    encoder, model = any_model
    tokens = encoder.tokenizer(list(TEXTS))
    with torch.inference_mode():
        sentences, words = encoder.encode_tokens(tokens)
        expected = model.encode_text(tokens)
    ends = (tokens == encoder.tokenizer.eot_token_id).int().argmax(-1)
    if encoder.name == "small-siglip":  # it pools the last place, whatever stands there
        ends[:] = tokens.shape[1] - 1
    torch.testing.assert_close(sentences, expected)
    torch.testing.assert_close(words[torch.arange(len(TEXTS)), ends], expected)


def test_words_of_every_model_are_its_tokens_between_the_marks(any_model):
    encoder, _ = any_model
    for text, encoded in zip(TEXTS, encode(encoder, *TEXTS), strict=True):
        ids = encoder.tokenizer.encode(text)
        assert encoded.tokens.tolist() == ids[: encoder.tokenizer.context_length - 2]
        assert encoded.words.shape == (len(encoded.tokens), encoder.dim)
        assert encoded.truncated == (len(ids) > 10)


def test_frames_are_those_of_encode_image(any_model):
    encoder, model = any_model
    side = encoder.pixels.size
    pictures = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    mean, std = torch.tensor(encoder.pixels.mean), torch.tensor(encoder.pixels.std)
    own = (pictures / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode_frames(pictures), model.encode_image(own))


def test_hidden_features_times_the_projection_are_the_projected_ones(any_model):
    encoder, _ = any_model
    maps, side = encoder.projections(), encoder.pixels.size
    pictures = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    tokens = encoder.tokenizer(list(TEXTS))

    def through(hidden, tower):
        if f"{tower}.weight" not in maps:
            return hidden
        return hidden @ maps[f"{tower}.weight"] + maps.get(f"{tower}.bias", 0)

    with torch.inference_mode():
        frames, hidden = (
            encoder.encode_frames(pictures),
            encoder.encode_frames(pictures, hidden=True),
        )
        (sentences, words) = encoder.encode_tokens(tokens)
        (hidden_sentences, hidden_words) = encoder.encode_tokens(tokens, hidden=True)
    scale = float(frames.abs().max())
    torch.testing.assert_close(through(hidden, "visual") / scale, frames / scale)
    torch.testing.assert_close(through(hidden_sentences, "text"), sentences)
    torch.testing.assert_close(through(hidden_words, "text"), words)
    assert hidden.shape == (3, encoder.frame_dim(hidden=True))
    assert hidden_words.shape[-1] == encoder.text_dim(hidden=True)
    assert frames.shape[-1] == encoder.frame_dim(hidden=False) == encoder.dim
    assert sentences.shape[-1] == encoder.text_dim(hidden=False) == encoder.dim


PROJECTIONS = {
    "small": {"visual.weight": (32, 16), "text.weight": (24, 16)},
    "small-resnet": {"visual.weight": (256, 16), "visual.bias": (16,), "text.weight": (24, 16)},
    "small-eva": {"visual.weight": (64, 16), "visual.bias": (16,), "text.weight": (24, 16)},
    "small-convnext": {"visual.weight": (32, 16), "text.weight": (24, 16)},
    "small-siglip": {"text.weight": (24, 64), "text.bias": (64,)},
    "small-unprojected": {"visual.weight": (32, 16)},
}


def test_projections_have_the_keys_of_those_that_are_there(any_model):
    encoder, _ = any_model
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.projections().items()}
    assert shapes == PROJECTIONS.get(encoder.name, PROJECTIONS["small"])


def test_projections_are_copies(tiny):
    before = tiny.model.visual.proj.clone()
    tiny.projections()["visual.weight"].zero_()
    assert torch.equal(tiny.model.visual.proj, before)


def test_hidden_captions_are_the_rows_of_the_hidden_forward(any_model):
    encoder, _ = any_model
    with torch.inference_mode():
        sentences, words = encoder.encode_tokens(encoder.tokenizer(list(TEXTS)), hidden=True)
        encoded = encoder.encode_texts(TEXTS, "cpu", hidden=True)
    for row, one in enumerate(encoded):
        np.testing.assert_allclose(one.sentence, sentences[row], rtol=1e-4, atol=1e-5)
        own = words[row, 1 : 1 + len(one.tokens)]
        np.testing.assert_allclose(one.words, own, rtol=1e-4, atol=1e-5)


def test_hidden_frames_take_gradients_to_the_weights_of_the_model_itself(any_model):
    encoder, _ = any_model
    side = encoder.pixels.size
    encoder.encode_frames(
        torch.zeros(1, 3, side, side, dtype=torch.uint8), hidden=True
    ).sum().backward()
    assert any(weight.grad is not None for weight in encoder.model.visual.parameters())
    encoder.zero_grad(set_to_none=True)


def test_hidden_frames_follow_a_change_of_the_weights(tiny):
    pictures = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    before = tiny.model.visual.ln_post.bias.data.clone()
    with torch.inference_mode():
        first = tiny.encode_frames(pictures, hidden=True)
        tiny.model.visual.ln_post.bias.data += 1
        second = tiny.encode_frames(pictures, hidden=True)
        tiny.model.visual.ln_post.bias.data.copy_(before)
    torch.testing.assert_close(second, first + 1)


def test_half_precision_is_close_to_full(any_model):
    encoder, _ = any_model
    side = encoder.pixels.size
    pictures = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    for hidden in (False, True):
        with torch.inference_mode():
            frames = encoder.encode_frames(pictures, hidden=hidden)
            texts = encoder.encode_texts(TEXTS, "cpu", hidden=hidden)
            with torch.autocast("cpu", torch.bfloat16):
                half = encoder.encode_frames(pictures, hidden=hidden)
                half_texts = encoder.encode_texts(TEXTS, "cpu", hidden=hidden)
        assert float(torch.cosine_similarity(half.float(), frames).min()) > 0.99
        for one, other in zip(texts, half_texts, strict=True):
            assert other.sentence.dtype == np.float32
            difference = np.linalg.norm(one.sentence - other.sentence)
            assert difference < 0.05 * np.linalg.norm(one.sentence)


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


@pytest.mark.parametrize(
    "file", ["w.safetensors", "w.pt", "w.bin", "legacy.pth", "old.pt", "epoch_3.pt"]
)
@pytest.mark.usefixtures("no_network")
def test_weights_come_from_a_file_in_every_form_that_people_have(small, small_weights, file):
    path = small_weights / file
    encoder = load_clip(f"{SMALL}@{path}")
    expected = small.state_dict()
    if file != "epoch_3.pt":  # it was trained for a step
        for name, tensor in encoder.model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
    assert encoder.model.state_dict().keys() == expected.keys()
    assert (encoder.name, encoder.dim, encoder.weights) == (SMALL, 16, hash_file(path))
    assert json.loads(encoder.config)["quick_gelu"] is False
    assert not encoder.model.training


@pytest.mark.usefixtures("no_network")
def test_a_training_checkpoint_gives_the_weights_that_it_holds(small_weights):
    state = torch.load(small_weights / "epoch_3.pt", weights_only=True)["state_dict"]
    encoder = load_clip(f"{SMALL}@{small_weights / 'epoch_3.pt'}")
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, state[f"module.{name}"]), name


@pytest.mark.usefixtures("no_network")
def test_weights_of_one_text_tower_fit_a_model_that_keeps_it_apart(small, small_weights):
    encoder = load_clip(f"small-tower@{small_weights / 'w.pt'}")
    tokens = encoder.tokenizer(list(TEXTS))
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode_tokens(tokens)[0], small.encode_text(tokens))


# Pictures that are squashed, and other wishes


def test_a_squashed_picture_is_prepared_as_open_clips_own_preprocessing_does(tmp_path):
    model = random_model("small-siglip")
    folder = save_folder(model, tmp_path / "siglip", MODELS["small-siglip"], SQUASHED)
    encoder = load_clip(f"local-dir:{folder}")
    frame = np.random.default_rng(0).integers(60, 196, (90, 200, 3), dtype=np.uint8)
    own = open_clip.image_transform(
        160, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash"
    )(Image.fromarray(frame))
    prepared = encoder.prepare(frame)
    assert (prepared.dtype, prepared.shape) == (torch.uint8, (3, 160, 160))
    assert ((prepared / 255 - 0.5) / 0.5 - own).abs().max() <= 2.01 / 255
    assert encoder.pixels.geometry == "rgb24 bicubic-antialias 160 squash"
    with torch.inference_mode():
        found, expected = encoder.encode_frames(prepared[None]), model.encode_image(own[None])
    assert float(torch.cosine_similarity(found, expected)) > 0.999


def test_the_description_is_the_geometry_and_the_colours():
    pixels = Pixels(size=224, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert pixels.geometry == "rgb24 bicubic-antialias 224 centre-crop"
    assert pixels.description == (
        "rgb24 bicubic-antialias 224 centre-crop mean (0.1, 0.2, 0.3) std (0.4, 0.5, 0.6)"
    )


PLAIN = {"size": 32, "mode": "RGB", **SQUASHED}


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"interpolation": "bilinear"}, "interpolation bilinear"),
        ({"resize_mode": "longest"}, "resize mode longest"),
        ({"size": (224, 112)}, r"size \(224, 112\)"),
        ({"mode": "L"}, "colours L"),
    ],
)
def test_another_wish_for_pictures_is_refused_by_name(wish, named):
    with pytest.raises(ConfigError, match=f"some-model wants pictures with {named}, and vidret"):
        pixels_of("some-model", PLAIN | wish)


def test_a_square_given_by_both_sides_is_a_square():
    assert pixels_of("some-model", PLAIN | {"size": (224, 224)}).size == 224


def test_frames_can_be_prepared_by_many_threads_at_once(tiny):
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (70 + n, 128, 3), dtype=np.uint8) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for found, frame in zip(pool.map(tiny.prepare, frames), frames, strict=True):
            assert torch.equal(found, tiny.prepare(frame))


# Files that are something else


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32"])
@pytest.mark.usefixtures("no_network")
def test_a_model_whose_words_cannot_be_told_is_refused_before_its_weights_are_read(
    small_weights, name
):
    with pytest.raises(ConfigError, match=f"{name} reads text in another way than CLIP"):
        load_clip(f"{name}@{small_weights / 'w.pt'}")


@pytest.mark.usefixtures("no_network")
def test_an_archive_of_openai_is_sent_to_the_converter(tmp_path):
    path = tmp_path / "ViT-tiny.pt"
    save_archive(random_model("small-quickgelu"), path)
    with pytest.raises(MissingError) as caught:
        load_clip(f"small-quickgelu@{path}")
    assert (
        f"run vidret weights convert {path} ViT-tiny.safetensors, "
        "then give small-quickgelu@ViT-tiny.safetensors"
    ) in str(caught.value)


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def write_wrong(path, kind):
    if kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other model":
        torch.save({"weight": torch.ones(3)}, path)
    elif kind == "no tensors":
        torch.save([1, 2], path)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"state_dict": Code()}, protocol=2))


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["text", "empty", "other model", "no tensors", "code"])
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
    with pytest.raises(MissingError, match=r"w\.pt cannot be loaded .*it lacks visual"):
        load_clip(f"ViT-B-32-quickgelu@{small_weights / 'w.pt'}")


def test_positions_of_another_picture_size_are_not_stretched(small_weights, configs):
    vision = MODELS[SMALL]["vision_cfg"] | {"image_size": 64}
    larger = MODELS[SMALL] | {"vision_cfg": vision}
    (configs / "small-64.json").write_text(json.dumps(larger))
    open_clip.add_model_config(configs / "small-64.json")
    with pytest.raises(MissingError, match=r"another shape in visual\.positional_embedding"):
        load_clip(f"small-64@{small_weights / 'w.pt'}")


def test_a_model_without_weights_gets_the_lines_for_the_settings():
    with pytest.raises(MissingError) as caught:
        load_clip("ViT-B-32-quickgelu")
    message = str(caught.value)
    assert (
        '\n[extract]\nbackbone = "ViT-B-32-quickgelu@/path/to/open_clip_model.safetensors"\n'
        in message
    )
    assert "https://huggingface.co/timm/vit_base_patch32_clip_224.openai" in message
    assert "ViT-B-32.pt of OpenAI" in message
    assert str(missing_weights("ViT-B-32-quickgelu")) == message


@pytest.mark.parametrize("name", PUBLISHED_AT)
def test_where_to_get_a_default_is_where_open_clip_gets_it(name):
    entry = open_clip.get_pretrained_cfg(name, "openai")
    repository, file = PUBLISHED_AT[name]
    assert entry["hf_hub"] == f"{repository}/"
    assert entry["url"].endswith(f"/{file}")


@pytest.mark.usefixtures("no_network")
def test_a_path_that_is_not_there_is_no_tag_either():
    with pytest.raises(MissingError, match=r"/absent/w\.pt is not there, .*one of the tags openai"):
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
    save_file(contiguous(model), path)
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
