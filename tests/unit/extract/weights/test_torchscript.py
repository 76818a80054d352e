import io
import pickle
import warnings
import zipfile

import pytest
import torch
from making.backbones import random_model, save_archive
from torch import nn

from vidret.extract.weights.torchscript import is_torchscript, read_torchscript, uses_quick_gelu


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A traced CLIP, and what torch itself reads from it."""
    path = tmp_path_factory.mktemp("archive") / "ViT-small.pt"
    return path, save_archive(random_model("small-quickgelu"), path)


def script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(module).save(path)
        return dict(torch.jit.load(path).state_dict())


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_a_traced_clip_is_read_as_torch_reads_it(archive):
    path, expected = archive
    assert is_torchscript(path)
    assert_same(read_torchscript(path), expected)
    assert {"input_resolution", "visual.proj", "logit_scale"} <= expected.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_buffers_views_and_other_numbers_are_read_as_torch_reads_them(tmp_path, dtype):
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    module[2].weight = nn.Parameter(torch.randn(4, 2).t())  # not contiguous
    module[0].to(dtype)
    expected = script(module, tmp_path / "module.pt")
    assert "1.num_batches_tracked" in expected
    assert_same(read_torchscript(tmp_path / "module.pt"), expected)


class WithExtras(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("scratch", torch.zeros(3), persistent=True)
        self.plain = torch.full((4,), 7.0)
        self.sizes = [1, 2, 3]
        self.scale = 0.5

    def forward(self, x):
        return x * self.weight.sum() + self.plain.sum() * self.scale + self.sizes[0]


def test_tensors_that_are_no_weights_are_left_out(tmp_path):
    expected = script(WithExtras(), tmp_path / "extras.pt")
    assert expected.keys() == {"weight", "scratch"}
    assert_same(read_torchscript(tmp_path / "extras.pt"), expected)


def test_the_code_of_an_archive_tells_its_activation(archive, tmp_path):
    path, _ = archive
    assert uses_quick_gelu(path) is True
    save_archive(random_model("small"), tmp_path / "gelu.pt")
    assert uses_quick_gelu(tmp_path / "gelu.pt") is False
    script(nn.Sequential(nn.Linear(2, 2)), tmp_path / "none.pt")
    assert uses_quick_gelu(tmp_path / "none.pt") is None


def test_other_files_are_no_archives(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("no")
    (tmp_path / "empty.pt").write_bytes(b"")
    assert not any(is_torchscript(path) for path in tmp_path.iterdir())


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def with_pickle(source, target, content):
    """The same archive around another tree."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("/data.pkl") else old.read(name))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": Code()}, r"GLOBAL __builtin__\.print"),
        ([1, 2], "no tree of modules"),
        ({"a": io.BytesIO(b"x")}, r"GLOBAL _io\.BytesIO"),
    ],
    ids=["code", "list", "other object"],
)
def test_a_tree_that_is_more_than_weights_is_refused_and_not_run(
    archive, tmp_path, capsys, tree, words
):
    with_pickle(archive[0], tmp_path / "evil.pt", pickle.dumps(tree, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=words):
        read_torchscript(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


def test_an_archive_without_a_module_in_its_code_is_refused(archive, tmp_path):
    with zipfile.ZipFile(archive[0]) as old, zipfile.ZipFile(tmp_path / "bare.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if name.endswith(".py") else old.read(name))
    with pytest.raises(pickle.UnpicklingError, match="names no modules"):
        read_torchscript(tmp_path / "bare.pt")
