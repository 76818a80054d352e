import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vidret.extract.weights.files import (
    UNREADABLE,
    Form,
    digest_of,
    first_words,
    hash_file,
    read_metadata,
    read_weights,
    wants_to_run_code,
    write_tensors,
)

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}
PARALLEL = {f"module.{name}": tensor for name, tensor in STATE.items()}
SAMPLER = {  # as PANN's balanced sampler leaves it in its checkpoints
    "indexes_per_class": [np.arange(3), np.array([4, 5], dtype=np.int32)],
    "queue": [1, 2],
    "pointers_of_classes": [np.int64(3)],
    "weights": np.ones(2, dtype=np.float32),
}


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (STATE, Form.STATE_DICT),
        (PARALLEL, Form.STATE_DICT),
        ({"epoch": 3, "state_dict": PARALLEL, "optimizer": {}}, Form.OPEN_CLIP),
        ({"iteration": 600_000, "model": STATE, "sampler": SAMPLER}, Form.PANN),
    ],
    ids=["bare", "parallel", "open_clip", "PANN with its sampler"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pickles_of_every_form_give_the_same_tensors(tmp_path, content, form, zipped):
    path = tmp_path / "weights.anything"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    file = read_weights(path)
    assert (file.form, file.metadata, file.tensors.keys()) == (form, {}, STATE.keys())
    for name, tensor in STATE.items():
        assert torch.equal(file.tensors[name], tensor)
        assert file.tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    save_file(STATE, tmp_path / name, metadata={"vidret.model": "small"})
    file = read_weights(tmp_path / name)
    assert file.form is Form.SAFETENSORS
    assert dict(file.metadata) == read_metadata(tmp_path / name) == {"vidret.model": "small"}
    assert torch.equal(file.tensors["a.weight"], STATE["a.weight"])


def test_names_are_kept_where_not_all_of_them_are_of_a_parallel_training(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").tensors.keys() == {"module.a", "b"}


@pytest.mark.parametrize(
    "content",
    [[1, 2], 3, {}, {"a": 1}, {1: torch.ones(1)}, {"model": {"a": "b"}}, {"a": {"b": 1}}],
    ids=repr,
)
def test_a_file_without_tensors_by_name_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"in it is no tensor|holds no tensors"):
        read_weights(tmp_path / "w.pt")


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_to_run_code_is_not_run(tmp_path, capsys, zipped):
    path = tmp_path / "w.pt"
    torch.save({"model": Code()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError) as caught:
        read_weights(path)
    assert wants_to_run_code(caught.value)
    assert first_words(caught.value) == "it asks to run code"
    assert capsys.readouterr().out == ""


def test_an_array_of_objects_may_not_smuggle_code_in(tmp_path, capsys):
    array = np.empty(1, dtype=object)
    array[0] = Code()
    torch.save({"model": STATE, "sampler": array}, tmp_path / "w.pt")
    with pytest.raises(pickle.UnpicklingError):
        read_weights(tmp_path / "w.pt")
    assert capsys.readouterr().out == ""


def test_what_is_allowed_for_a_checkpoint_is_forbidden_again_behind_it(tmp_path):
    torch.save({"model": STATE, "sampler": SAMPLER}, tmp_path / "w.pt")
    read_weights(tmp_path / "w.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pt", weights_only=True)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\0\0\0\0\0\0\0{", b"PK\x03\x04"])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_whatever_is_no_file_of_weights_raises_what_callers_expect(tmp_path, content, ending):
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(UNREADABLE) as caught:
        read_weights(path)
    assert "\n" not in first_words(caught.value)


def test_checksums_are_those_of_hashlib(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"weights" * 1000)
    assert digest_of(path, "md5") == hashlib.md5(path.read_bytes()).hexdigest()
    assert digest_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hash_file(path) == digest_of(path)[:16]


def test_the_same_content_is_written_in_the_same_bytes(tmp_path):
    """Whatever the order in which things come."""
    tensors = {name: torch.arange(3.0) for name in "abc"}
    metadata = {f"key {number}": 'a "word", ö' for number in range(8)}
    write_tensors(tmp_path / "first", tensors, metadata)
    backwards = [dict(reversed(list(one.items()))) for one in (tensors, metadata)]
    write_tensors(tmp_path / "second", *backwards)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert read_metadata(tmp_path / "first") == metadata
    assert all(torch.equal(one, tensors[n]) for n, one in load_file(tmp_path / "first").items())
