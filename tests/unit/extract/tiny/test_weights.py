import json
import shutil

import pytest

from vidret.data.errors import DamagedError, MissingError
from vidret.extract.tiny.weights import CHECKSUMS, TINY_FOLDER, verify_weights


@pytest.fixture
def copy(tmp_path):
    """A copy of the bundled weights that may be spoilt."""
    for name in (CHECKSUMS, "clip.safetensors", "sound.safetensors"):
        shutil.copy(TINY_FOLDER / name, tmp_path / name)
    return tmp_path


def test_the_bundled_weights_are_as_they_were_shipped():
    verify_weights()


def test_the_checksums_cover_all_weights_and_these_are_small():
    files = list(TINY_FOLDER.glob("*.safetensors"))
    assert {path.name for path in files} == set(json.loads((TINY_FOLDER / CHECKSUMS).read_text()))
    assert sum(path.stat().st_size for path in files) <= 16 * 2**20


@pytest.mark.parametrize("name", ["clip.safetensors", "sound.safetensors"])
def test_one_other_bit_is_damage(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(
        DamagedError, match=rf"{name} has other bytes than shipped: install vidret again"
    ):
        verify_weights(copy)


@pytest.mark.parametrize("name", ["clip.safetensors", "sound.safetensors", CHECKSUMS])
def test_a_file_that_is_not_there_is_missing(copy, name):
    (copy / name).unlink()
    with pytest.raises(MissingError, match=rf"{name} is not there: install vidret again"):
        verify_weights(copy)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"clip.safetensors": 1}'])
def test_damaged_checksums_are_damage(copy, content):
    (copy / CHECKSUMS).write_text(content)
    with pytest.raises(DamagedError, match="install vidret again"):
        verify_weights(copy)
