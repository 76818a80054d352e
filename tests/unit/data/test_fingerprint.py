import hashlib
import json
from dataclasses import asdict, fields

import pytest
from making.caches import a_fingerprint

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.fingerprint import FORMAT, Fingerprint, require_fingerprint

NAMES = [field.name for field in fields(Fingerprint)]
COMPARED = [name for name in NAMES if name != "vidret"]


def changed(name):
    """The usual fingerprint with one field that differs."""
    value = getattr(a_fingerprint(), name)
    return a_fingerprint(**{name: f"{value}!" if isinstance(value, str) else value + 1})


@pytest.mark.parametrize("name", COMPARED)
def test_every_field_that_differs_is_refused_and_named(name):
    assert changed(name).digest != a_fingerprint().digest
    with pytest.raises(MismatchError, match=f"the cache was made .*{name} is .* there and "):
        require_fingerprint(changed(name), a_fingerprint(), "the cache")


def test_the_same_settings_are_accepted():
    require_fingerprint(a_fingerprint(), a_fingerprint(), "the cache")


def test_another_version_of_vidret_is_not_another_fingerprint():
    newer = a_fingerprint(vidret="9.9.9")
    require_fingerprint(newer, a_fingerprint(), "the cache")
    assert newer.digest == a_fingerprint().digest
    assert newer.differences(a_fingerprint()) == {}


def test_a_difference_is_given_from_both_sides():
    assert a_fingerprint(frames=8).differences(a_fingerprint()) == {"frames": (8, 3)}


def test_all_differing_fields_are_named_in_one_error():
    with pytest.raises(MismatchError, match="frames is 8 there and 3 here; dtype is float32"):
        require_fingerprint(a_fingerprint(frames=8, dtype="float32"), a_fingerprint(), "it")


def test_the_key_that_differs_inside_the_backbone_config_is_named():
    plain = a_fingerprint(backbone_config='{"quick_gelu": false, "vision_cfg": {"width": 32}}')
    with pytest.raises(MismatchError) as caught:
        require_fingerprint(plain, a_fingerprint(), "it")
    assert "backbone_config.quick_gelu is false there and true here" in str(caught.value)
    assert "backbone_config.vision_cfg.width is 32 there and 64 here" in str(caught.value)


def test_long_values_are_cut_in_the_message():
    with pytest.raises(MismatchError) as caught:
        require_fingerprint(a_fingerprint(decoder="x" * 5000), a_fingerprint(), "it")
    assert len(str(caught.value)) < 400


def test_the_features_digest_leaves_the_dataset_out_and_nothing_else():
    usual = a_fingerprint().features_digest
    same = [name for name in NAMES if changed(name).features_digest == usual]
    assert same == ["vidret", "dataset", "dataset_hash"]


NEW = ("features", "precision", "frame_dim", "text_dim")


def a_fingerprint_of_format_1():
    values = a_fingerprint().to_json() | {"format": 1}
    return {name: value for name, value in values.items() if name not in NEW}


def test_a_fingerprint_of_format_1_is_read_with_what_was_the_case_then():
    values = a_fingerprint_of_format_1()
    old = Fingerprint.from_json(values, "it")
    assert [getattr(old, name) for name in NEW] == ["projected", "float32", 4, 4]
    assert old.to_json() == values
    assert Fingerprint.from_json(asdict(old), "it") == old


def test_a_fingerprint_of_format_1_keeps_the_digest_that_its_shards_carry():
    values = a_fingerprint_of_format_1()
    told = {name: v for name, v in values.items() if not name.startswith(("vidret", "dataset"))}
    canonical = json.dumps(told, sort_keys=True).encode()
    digest = Fingerprint.from_json(values, "it").features_digest
    assert digest == hashlib.sha256(canonical).hexdigest()[:12]


def test_stored_widths_are_those_of_the_heads_unless_said_otherwise():
    assert (a_fingerprint().frame_dim, a_fingerprint().text_dim) == (4, 4)
    hidden = a_fingerprint(features="hidden", frame_dim=768, text_dim=512)
    assert (hidden.dim, hidden.frame_dim, hidden.text_dim) == (4, 768, 512)


def test_an_integer_scale_has_the_digest_of_the_same_float():
    values = a_fingerprint(logit_scale=100.0).to_json() | {"logit_scale": 100}
    assert Fingerprint.from_json(values, "it").digest == a_fingerprint(logit_scale=100.0).digest


def test_json_and_back_is_the_same_fingerprint():
    assert Fingerprint.from_json(a_fingerprint().to_json(), "it") == a_fingerprint()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_is_damage(name):
    values = a_fingerprint().to_json()
    del values[name]
    with pytest.raises(DamagedError, match="format" if name == "format" else f"fields .{name}"):
        Fingerprint.from_json(values, "here")


@pytest.mark.parametrize(
    "odd", [{"colour": 1}, {"frames": "12"}, {"frames": True}, {"format": "1"}, {"format": 0}]
)
def test_an_unknown_field_or_a_wrong_type_is_damage(odd):
    with pytest.raises(DamagedError, match=f"here.*{next(iter(odd))}"):
        Fingerprint.from_json(a_fingerprint().to_json() | odd, "here")


def test_a_newer_format_is_no_damage_but_a_mismatch_even_with_new_fields():
    newer = a_fingerprint().to_json() | {"format": FORMAT + 1, "colour": 1}
    with pytest.raises(MismatchError, match=f"format {FORMAT + 1}.*up to {FORMAT}"):
        Fingerprint.from_json(newer, "here")


@pytest.mark.parametrize("value", [None, [], "text"])
def test_what_is_no_object_is_damage(value):
    with pytest.raises(DamagedError, match="here"):
        Fingerprint.from_json(value, "here")
