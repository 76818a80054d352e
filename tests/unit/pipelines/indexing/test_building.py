from dataclasses import replace

import numpy as np
import pytest
import torch
from making.crowded import CROWD, numbered, write_crowded_cache
from making.planted import write_planted_cache

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.index import vectors
from vidret.data.index.store import FRAMES, POOLED, open_index
from vidret.data.index.strays import make_strays
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.indexing.building import (
    Changes,
    build_index,
    update_index,
)
from vidret.pipelines.indexing.places import index_folder
from vidret.pipelines.indexing.vectors import pooled_vectors, question_vector
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.ranker import make_ranker
from vidret.pipelines.searching.shortlist import Shortlister
from vidret.pipelines.train_heads import run_train

CPU = torch.device("cpu")


@pytest.fixture(params=["flat", "lists"])
def kind(request, monkeypatch):
    """Vectors compared one by one, or in lists."""
    monkeypatch.setattr(vectors, "LISTS_FROM", 100 if request.param == "lists" else 10**9)
    monkeypatch.setattr(
        "vidret.pipelines.indexing.building.LISTS_FROM", vectors.LISTS_FROM, raising=True
    )
    return request.param


def mean_ranker(cache):
    return make_ranker("mean", None, open_corpus(cache), CPU)


def held(folder):
    """What an index gives for some questions asked everywhere, and all that it lists."""
    stored = open_index(folder)
    found = []
    for role, index in stored.vectors.items():
        queries = np.random.default_rng(5).normal(size=(7, index.dim)).astype(np.float32)
        keys, products = index.nearest(queries, len(index), everywhere=True)
        order = keys.argsort(axis=1, kind="stable")
        keys, products = (np.take_along_axis(each, order, 1) for each in (keys, products))
        found.append((role, len(index), keys.tolist(), products))
    return found, stored.entries.keys.tolist(), stored.entries.versions.tolist()


@pytest.mark.parametrize("every_frame", [False, True])
def test_an_updated_index_holds_what_a_fresh_one_does(kind, every_frame, tmp_path):
    """After videos came, changed and went, one step after the other."""
    before, after = numbered(), numbered()
    for gone in (3, 100, 319):
        del after[gone]
    after |= {7: 1, 118: 1} | dict.fromkeys(range(CROWD, CROWD + 9), 0)
    cache = tmp_path / "cache" / "crowd"
    ranker = mean_ranker(write_crowded_cache(cache, before))
    folder = index_folder(tmp_path, ranker)
    assert build_index(folder, ranker, every_frame=every_frame).kinds[POOLED] == kind
    ranker = mean_ranker(write_crowded_cache(cache, after))
    header, changes = update_index(folder, ranker)
    assert changes == Changes(added=9, changed=2, removed=3)
    assert header.videos == CROWD + 6
    build_index(tmp_path / "fresh", ranker, every_frame=every_frame)
    updated, fresh = held(folder), held(tmp_path / "fresh")
    assert updated[1:] == fresh[1:]
    for (_, count, keys, products), (_, its_count, its_keys, its_products) in zip(
        updated[0], fresh[0], strict=True
    ):
        assert (count, keys) == (its_count, its_keys)
        products, its_products = (  # every frame of a video has the key of the video
            np.sort(each.reshape(7, len(set(keys[0])), -1)) for each in (products, its_products)
        )
        exact = 1e-6 if kind == "flat" else 0.05  # lists round to a byte, by the first videos
        np.testing.assert_allclose(products, its_products, atol=exact)


def test_an_update_of_nothing_writes_nothing(tmp_path):
    ranker = mean_ranker(write_crowded_cache(tmp_path / "cache" / "crowd"))
    folder = index_folder(tmp_path, ranker)
    build_index(folder, ranker, every_frame=False)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("[a-z]*")}
    assert update_index(folder, ranker)[1] == Changes()
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("[a-z]*")} == before


def test_damaged_vectors_are_not_carried_on(tmp_path):
    """An update would write new checksums, behind which nobody could find the damage."""
    cache = tmp_path / "cache" / "crowd"
    ranker = mean_ranker(write_crowded_cache(cache, numbered(90)))
    folder = index_folder(tmp_path, ranker)
    build_index(folder, ranker, every_frame=False)
    (path,) = folder.glob("pooled-*.faiss")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"other bytes than were written: .*index build"):
        update_index(folder, mean_ranker(write_crowded_cache(cache)))


def test_an_index_that_outgrows_one_list_is_made_anew_with_lists(tmp_path, monkeypatch):
    cache = tmp_path / "cache" / "crowd"
    ranker = mean_ranker(write_crowded_cache(cache, numbered(90)))
    folder = index_folder(tmp_path, ranker)
    assert build_index(folder, ranker, every_frame=True).kinds[POOLED] == "flat"
    monkeypatch.setattr(vectors, "LISTS_FROM", 100)
    monkeypatch.setattr("vidret.pipelines.indexing.building.LISTS_FROM", 100)
    header, changes = update_index(folder, mean_ranker(write_crowded_cache(cache)))
    assert header.kinds == {POOLED: "lists", FRAMES: "lists"}
    assert changes.added == CROWD - 90


def test_without_an_index_there_is_nothing_to_update(tmp_path):
    ranker = mean_ranker(write_crowded_cache(tmp_path / "cache" / "crowd"))
    with pytest.raises(MissingError, match="holds no index"):
        update_index(index_folder(tmp_path, ranker), ranker)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A work folder with the run of a head that hears."""
    work = tmp_path_factory.mktemp("work")
    cache = write_planted_cache(work / "cache" / "planted")
    config = TrainConfig(
        work=work, cache=cache, epochs=2, audio_epochs=1, batch_size=16, name="run"
    )
    run_train(config, on_progress=lambda _: None)
    return work


def test_an_update_keeps_the_strays_of_who_stayed_and_finds_those_of_who_came(trained, tmp_path):
    """A head that weighs frames has them; each row is that of the video of its key."""
    ranker = run_ranker(trained)
    assert build_index(tmp_path / "index", ranker, every_frame=False).files["strays"]
    before = open_index(tmp_path / "index")
    keys = ranker.corpus.keys.copy()
    ranker.corpus.keys[[2, 5]] = [77, 11]  # two went, two came
    assert update_index(tmp_path / "index", ranker)[1] == Changes(added=2, removed=2)
    after, features = open_index(tmp_path / "index"), ranker.corpus.features
    expected = make_strays(
        before.strays.basis, features.frames[:].astype(np.float32), features.frame_mask
    )
    for row, key in enumerate(ranker.corpus.keys):
        place = np.searchsorted(after.entries.keys, key)
        assert np.array_equal(after.strays.places[place], expected.places[row])
        assert after.strays.lengths[place] == pytest.approx(expected.lengths[row])
        assert np.array_equal(after.strays.shown[place], features.frame_mask[row])
    assert {77, 11} <= set(after.entries.keys)
    assert not set(keys[[2, 5]]) & set(after.entries.keys)


def test_strays_lead_to_what_the_head_finds_where_means_do_not(trained, tmp_path):
    """One frame of four is what a planted caption is about."""
    ranker = run_ranker(trained)
    build_index(tmp_path / "index", ranker, every_frame=False)
    stored = open_index(tmp_path / "index")
    rows = np.arange(len(ranker.corpus))
    features = ranker.corpus.cache.load("test")
    shares = {}
    for name, strays in (("with", stored.strays), ("without", None)):
        index, held = replace(stored, strays=strays), []
        lister = Shortlister(index=index, ranker=ranker, unknown=rows[:0], below=0)
        for caption in range(len(features.caption_ids)):
            texts = features.texts_tensors(np.array([caption]))
            scores = sum(ranker.parts(texts, rows).values())
            best = np.argsort(-scores)[:3]
            held.append(np.isin(best, lister.likely(texts, 1.0, rows, 6)).mean())
        shares[name] = np.mean(held)
    assert shares["with"] > shares["without"] + 0.05
    assert shares["with"] > 0.8


def test_a_head_that_weighs_all_frames_alike_needs_no_strays(tmp_path):
    ranker = mean_ranker(write_crowded_cache(tmp_path / "cache" / "crowd"))
    build_index(tmp_path / "index", ranker, every_frame=False)
    assert open_index(tmp_path / "index").strays is None


def run_ranker(work, name="run"):
    return make_ranker(name, work / "runs" / name, open_corpus(work / "cache" / "planted"), CPU)


def test_an_index_of_other_weights_is_refused(trained, tmp_path):
    mean = make_ranker("mean", None, run_ranker(trained).corpus, CPU)
    folder = tmp_path / "index"
    build_index(folder, mean, every_frame=False)
    with pytest.raises(MismatchError, match=r"made for other weights of mean .* `vidret index bu"):
        update_index(folder, run_ranker(trained))


def test_an_index_of_another_cache_is_refused(trained, tmp_path):
    crowd = mean_ranker(write_crowded_cache(tmp_path / "cache" / "crowd"))
    build_index(tmp_path / "index", crowd, every_frame=False)
    with pytest.raises(MismatchError, match="index of crowd for mean was made from other features"):
        update_index(tmp_path / "index", run_ranker(trained))


def test_products_of_the_vectors_are_the_scores_of_the_mean(tmp_path):
    ranker = mean_ranker(write_crowded_cache(tmp_path / "cache" / "crowd"))
    assert_products_are_scores(ranker, weight=1.0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_products_are_scores_at_any_weight_of_the_sound(trained, weight):
    config = TrainConfig(work=trained, head="mean+cmfi", audio_epochs=1, name="heard")
    run_train(config, on_progress=lambda _: None)
    assert_products_are_scores(run_ranker(trained, "heard"), weight)


def test_an_mgfi_that_weighs_all_frames_alike_is_its_vector(trained):
    """Videos of one frame leave nothing to weigh: there the vector is all of the head."""
    ranker = run_ranker(trained)
    ranker.corpus.features.frame_mask[:, 1:] = False
    assert_products_are_scores(ranker, weight=1.0)


def assert_products_are_scores(ranker, weight):
    rows, dim = np.arange(len(ranker.corpus)), ranker.corpus.cache.fingerprint.dim
    made = pooled_vectors(ranker, ranker.videos(rows))
    draw = torch.Generator().manual_seed(0)
    from vidret.data.batches import Texts

    texts = Texts(
        sentence=torch.randn(1, dim, generator=draw),
        words=torch.randn(1, 3, dim, generator=draw),
        word_mask=torch.ones(1, 3, dtype=torch.bool),
    )
    parts = ranker.parts(texts, rows)
    if "audio" in parts:
        parts["audio"] = weight * parts["audio"]
    expected = sum(parts.values())
    found = (question_vector(ranker, texts, weight) @ made.T)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
