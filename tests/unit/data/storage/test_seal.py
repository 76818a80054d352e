import h5py
import numpy as np
import pytest
import xxhash
from making.caches import write_toy_cache
from making.pixels import write_pixels

from vidret.data.errors import DamagedError
from vidret.data.storage.hdf5 import seal_is_broken


@pytest.fixture(params=["videos-00001.h5", "captions-00000.h5", "pixels-00000.h5"])
def shard(request, tmp_path):
    folder = write_toy_cache(tmp_path / "cache")
    write_pixels(folder / "pixels-00000.h5", 0, 1)
    return folder / request.param


def columns_of(path):
    with h5py.File(path) as shard:
        found = []
        shard.visititems(
            lambda name, it: found.append(name) if isinstance(it, h5py.Dataset) else None
        )
    return found


def another(value):
    if isinstance(value, bytes):
        return value + b"x"
    return ~value if value.dtype == bool else value + 1


def test_what_was_written_is_sealed(shard):
    assert not seal_is_broken(shard)


def test_another_value_in_any_column_breaks_the_seal(shard):
    for name in columns_of(shard):
        with h5py.File(shard, "r+") as file:
            if not file[name].size:
                continue
            last = tuple(length - 1 for length in file[name].shape)
            before = file[name][last]
            file[name][last] = another(before)
        assert seal_is_broken(shard), name
        with h5py.File(shard, "r+") as file:
            file[name][last] = before
        assert not seal_is_broken(shard), name


def test_a_column_with_another_name_breaks_the_seal(shard):
    with h5py.File(shard, "r+") as file:
        file.move("ids", "names")
    assert seal_is_broken(shard)


def test_a_column_with_another_shape_breaks_the_seal(shard):
    name = next(name for name in columns_of(shard) if name.endswith(("source/size", "offsets")))
    with h5py.File(shard, "r+") as file:
        values = file[name][...]
        del file[name]
        file[name] = values[None]
    assert seal_is_broken(shard)


def test_a_column_that_is_gone_breaks_the_seal(shard):
    with h5py.File(shard, "r+") as file:
        del file["ids"]
    assert seal_is_broken(shard)


def test_strings_that_are_cut_elsewhere_break_the_seal(shard):
    with h5py.File(shard, "r+") as file:
        ids = list(file["ids"].asstr())
        file["ids"][0], file["ids"][1] = ids[0] + ids[1][0], ids[1][1:]
    assert seal_is_broken(shard)


def test_a_shard_without_a_seal_is_not_vouched_for(shard):
    with h5py.File(shard, "r+") as file:
        del file.attrs["content"]
    assert seal_is_broken(shard)


def test_a_file_that_is_no_shard_is_damage(tmp_path):
    (tmp_path / "videos-00000.h5").write_bytes(b"text")
    with pytest.raises(DamagedError):
        seal_is_broken(tmp_path / "videos-00000.h5")


def test_the_seal_is_what_the_docs_say(shard):
    """As docs/cache-format.md has it, in the fewest lines."""
    digest = xxhash.xxh3_128()
    with h5py.File(shard) as file:
        for name in sorted(columns_of(shard)):
            values = file[name][...]
            text = values.dtype == object
            kind = "string" if text else values.dtype.str
            digest.update(f"{name} {kind} {list(values.shape)}\n".encode())
            rows = [str(len(value)).encode() + b" " + value for value in values] if text else []
            digest.update(b"".join(rows) if text else np.ascontiguousarray(values).tobytes())
        assert file.attrs["content"] == digest.hexdigest()
