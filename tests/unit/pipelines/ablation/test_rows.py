from functools import cache as cache_of_calls

import pytest
from making.planted import write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError
from vidret.heads.catalog import HEADS
from vidret.pipelines.ablation.rows import TABLE_1, Kind, base_of, is_ignored, kinds_of_rows
from vidret.pipelines.config.fitting import FIT_SETTINGS, HEAD_SETTINGS, AblateConfig

OTHER_VALUES = {
    "hidden": 5,
    "dropout": 0.1,
    "activation": "relu",
    "feed_forward": "own",
    "norms": "own",
    "start": "random",
    "projection_bias": True,
    "word_set": "words+end",
    "word_weight_scale": "sqrt_c",
    "missing_audio": "text-mean",
    "layers": 2,
    "hcmi_frame_attention": False,
    "hcmi_word_layers": 0,
    "hcmi_clustering": "even",
    "hcmi_clips": 2,
    "hcmi_phrases": 2,
    "hcmi_levels": "video",
    "hcmi_contrast": "sum",
    "hcmi_denoise": False,
    "hcmi_positives": 0,
    "hcmi_margin": 0.2,
    "hcmi_margin_weight": 0.0,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return FeatureCache.open(write_planted_cache(folder, splits={"train": 8, "test": 4}))


def labels(cache, **settings):
    return [row.label for row in kinds_of_rows(AblateConfig(**settings), cache)]


def test_the_rows_of_the_paper_are_the_default(cache):
    assert labels(cache) == [
        "base",
        "base + FF (control)",
        "s-f",
        "w-f",
        "s-f + w-f",
        "w-f + a-s",
        "s-f + a-s",
        "s-f + w-f + a-s",
    ]


def test_without_sound_the_rows_of_the_sound_are_left_out(tmp_path):
    folder = write_planted_cache(tmp_path, splits={"train": 8, "test": 4}, with_sound=False)
    rows = kinds_of_rows(AblateConfig(), FeatureCache.open(folder))
    assert [row.head for row in rows] == [head for head in TABLE_1 if "cmfi" not in head]


def test_a_label_says_the_head_and_what_varies(cache):
    assert labels(cache, heads=("w-f",), vary=("word_weight_scale=literal,sqrt_c",)) == [
        "w-f, word_weight_scale=literal",
        "w-f, word_weight_scale=sqrt_c",
    ]


def test_a_row_that_ignores_what_varies_is_made_once_and_says_so(cache):
    assert labels(cache, heads=("s-f", "w-f"), vary=("word_weight_scale=literal,sqrt_c",)) == [
        "s-f (any word_weight_scale)",
        "w-f, word_weight_scale=literal",
        "w-f, word_weight_scale=sqrt_c",
    ]


def test_a_row_varies_in_what_it_reads_and_not_in_the_rest(cache):
    vary = ("missing_audio=learned,text-mean", "epochs=1,2")
    assert labels(cache, heads=("s-f", "s-f+cmfi", "mean+cmfi"), vary=vary) == [
        "s-f, epochs=1 (any missing_audio)",
        "s-f, epochs=2 (any missing_audio)",
        "s-f + a-s, missing_audio=learned, epochs=1",
        "s-f + a-s, missing_audio=learned, epochs=2",
        "s-f + a-s, missing_audio=text-mean, epochs=1",
        "s-f + a-s, missing_audio=text-mean, epochs=2",
        "base + a-s, missing_audio=learned (any epochs)",
        "base + a-s, missing_audio=text-mean (any epochs)",
    ]


def test_what_learns_nothing_ignores_everything_but_whether_it_learns():
    settings = AblateConfig()
    read = [name for name in FIT_SETTINGS if not is_ignored(name, "mean", settings)]
    assert read == ["train_projection"]


def test_learned_projections_give_even_the_mean_something_to_read():
    settings = AblateConfig(train_projection=True)
    read = {name for name in FIT_SETTINGS if not is_ignored(name, "mean", settings)}
    assert {"epochs", "lr", "projection_lr", "train_projection"} <= read
    assert not read & {*HEAD_SETTINGS, "audio_epochs"}


def test_a_sound_with_a_batch_of_its_own_does_not_read_the_others():
    shared, own = AblateConfig(), AblateConfig(audio_batch_size=4)
    assert not is_ignored("batch_size", "mean+cmfi", shared)
    assert is_ignored("batch_size", "mean+cmfi", own)
    assert not is_ignored("batch_size", "s-f+cmfi", own)


def test_how_a_teacher_is_asked_matters_only_where_one_is():
    silent, asked = AblateConfig(), AblateConfig(loss_distillation=0.2)
    for name in ("loss_distillation_by", "loss_distillation_scale"):
        assert is_ignored(name, "xpool", silent)
        assert not is_ignored(name, "xpool", asked)
    assert not is_ignored("loss_distillation", "xpool", silent)
    assert is_ignored("loss_distillation", "mean", asked)


def test_a_head_with_a_loss_of_its_own_reads_the_other_one_for_its_sound_alone():
    settings = AblateConfig(loss_distillation=0.2)
    for name in ("loss_dual_softmax", "loss_distillation", "loss_distillation_by"):
        assert is_ignored(name, "hcmi", settings)
        assert not is_ignored(name, "hcmi+cmfi", settings)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", HEAD_SETTINGS)
def test_an_option_is_ignored_exactly_where_it_changes_no_training(head, name):
    """Built either way and shaken by the same noise, the head says the same, or it does not."""
    changed, usual = scores_and_loss(head, name), scores_and_loss(head)
    assert is_ignored(name, head, AblateConfig()) == (changed == usual)


@cache_of_calls
def scores_and_loss(head, name=None):
    """The scores of a head while it learns, and the loss of its first stage."""
    import torch

    from vidret.data.batches import Texts, Videos
    from vidret.heads.catalog import build_retriever
    from vidret.heads.options import HeadOptions
    from vidret.heads.retriever import Retriever
    from vidret.pipelines.training.learners import batch_loss
    from vidret.pipelines.training.loop import VIDEO_TEXT, Stage

    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    texts = Texts(
        sentence=noise(3, 6), words=noise(3, 4, 6), word_mask=torch.ones(3, 4, dtype=torch.bool)
    )
    videos = Videos(
        frames=noise(3, 5, 6),
        frame_mask=torch.ones(3, 5, dtype=torch.bool),
        audio=noise(3, 4),
        audio_mask=torch.tensor([True, False, True]),
    )
    stage = Stage(name=VIDEO_TEXT, epochs=1, batch_size=3, lr=1e-3, weight_decay=0.0)
    changes = {} if name is None else {name: OTHER_VALUES[name]}
    retriever = build_retriever(
        head, dim=6, audio_dim=4, logit_scale=20.0, options=HeadOptions(**changes)
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in retriever.parameters():
            weight += 0.1 * torch.randn(weight.shape)
        seen = Retriever(retriever.video_head, None, logit_scale=20.0)
        scores = retriever.train()(texts, videos)
        loss = batch_loss(seen.eval(), stage, texts, videos, torch.arange(3))
    return [*scores.flatten().tolist(), loss.item()]


def test_the_base_is_the_first_row_unless_named_by_head_or_label(cache):
    config = AblateConfig(heads=("s-f", "w-f"), vary=("epochs=1,2",))
    rows = kinds_of_rows(config, cache)
    assert base_of(config, rows) is rows[0]
    for name, place in {"w-f": 2, "w-f, epochs=2": 3, "w-f, epochs = 2": 3}.items():
        named = AblateConfig(heads=config.heads, vary=config.vary, base=name)
        assert base_of(named, rows) is rows[place]


def test_a_base_that_is_no_row_is_refused_with_the_closest():
    rows = [Kind(head="s-f"), Kind(head="w-f")]
    with pytest.raises(ConfigError, match=r"base is 's-g', and no row .* did you mean 's-f'\?"):
        base_of(AblateConfig(base="s-g"), rows)


@pytest.mark.parametrize(
    ("name", "needs", "off"),
    [("hcmi_positives", "hcmi_denoise", False), ("hcmi_margin", "hcmi_margin_weight", 0.0)],
)
def test_what_a_switched_off_part_of_hcmi_would_read_makes_no_rows(name, needs, off):
    assert not is_ignored(name, "hcmi", AblateConfig())
    assert is_ignored(name, "hcmi", AblateConfig(**{needs: off}))
    assert is_ignored(name, "xpool", AblateConfig())
