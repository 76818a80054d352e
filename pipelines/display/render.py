"""Reports as the lines and tables that people read."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from vidret.data.cache import Coverage
from vidret.data.manifest import Manifest
from vidret.data.printable import printable
from vidret.data.samples import AudioState
from vidret.data.words import counted, size_text
from vidret.extract.weights.deltas import BASE_KEY, DIGEST_KEY
from vidret.heads.catalog import told_name
from vidret.pipelines.cache import (
    CacheCheckReport,
    CacheExportReport,
    CacheGcReport,
    CacheInfoReport,
)
from vidret.pipelines.config.declaring import Config
from vidret.pipelines.display.progress import clock_text
from vidret.pipelines.display.ranked import competition_sentence, ranks_table, reranked_tables
from vidret.pipelines.display.tables import Rendered, Table
from vidret.pipelines.evaluate import EvaluateReport, Setting
from vidret.pipelines.extraction.report import ExtractReport
from vidret.pipelines.finetune import FinetuneReport
from vidret.pipelines.train_heads import TrainReport
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT
from vidret.pipelines.training.planning import learning_encoders, origin_of, rate_of_encoder
from vidret.pipelines.training.runs import LAST, Run
from vidret.pipelines.weights import ConvertReport, WeightsReport

LISTED_FAILURES = 10
LISTED_TENSORS = 5
LISTED_PARTIAL = 5
STAGE_HEADS = {VIDEO_TEXT: "the video head and the temperature", AUDIO: "the sound head"}
ENCODER_NAMES = {
    "visual": "CLIP's image tower",
    "text": "CLIP's text tower",
    "audio": "the sound network",
}


def render_extract(report: ExtractReport) -> Rendered:
    """What is in the cache, what failed, where to look."""
    captions = counted(report.captions, "caption")
    lines = [f"{report.dataset}: {counted(report.videos, 'video')}, {captions}"]
    if report.dry_run:
        return "\n".join([*lines, *_preview_lines(report)])
    done = report.videos - len(report.failures)
    videos = counted(done, "video") if report.only is None else f"{report.only} of {done:,} videos"
    lines.append(
        f"in the cache: {videos} ({_effort(report)}), "
        f"{len(report.failures):,} failed, {size_text(report.bytes)} -> {report.folder}"
    )
    lines.append("sound: " + _sound_line(report.sound))
    if report.partial:
        names = ", ".join(map(printable, report.partial[:LISTED_PARTIAL]))
        more = ", ..." if len(report.partial) > LISTED_PARTIAL else ""
        files = counted(len(report.partial), "damaged file")
        lines.append(f"in part: {files} gave what there was: {names}{more}")
    if any(report.removed.values()):
        lines.append(
            f"gone or renamed: {_removed_text(report.removed)}; what the cache has of them stays "
            "until `vidret cache gc`"
        )
    if report.advice:
        lines.append(report.advice)
    if report.only is not None:
        lines.append("encode them with the same command without --only")
    if done and report.only is None and not report.sound[AudioState.OK]:
        lines.append("! no video carries sound: a head for sound would have nothing to learn")
    lines += [
        f"failed: {printable(one.id)}: {one.reason}" for one in report.failures[:LISTED_FAILURES]
    ]
    if len(report.failures) > LISTED_FAILURES:
        rest = len(report.failures) - LISTED_FAILURES
        lines.append(f"... and {rest:,} more in {report.folder / 'failures.md'}")
    return "\n".join([*lines, *(f"note: {note}" for note in report.notes)])


def _effort(report: ExtractReport) -> str:
    """What this run had to do for it."""
    same = report.to_do - report.encoded
    if same <= 0:
        return f"{report.to_do:,} tried in this run"
    return f"{report.encoded:,} tried in this run, {same:,} recognised"


def _preview_lines(report: ExtractReport) -> list[str]:
    """What a dry run says."""
    lines = [f"to do: {counted(report.to_do, 'video')} -> {report.folder}"]
    if report.looked_at:
        files = counted(report.looked_at, "file")
        lines.append(f"to look at: {files} touched or moved, whose content may be known")
    told = report.estimate
    if told is None or not (told.disk or report.to_do):
        return lines
    lines.append(f"disk: about {size_text(told.disk)}")
    if told.seconds is None:
        lines.append("time: unknown, since none of the videos tried could be decoded")
    elif told.tried:
        workers = counted(told.workers, "worker")
        lines.append(
            f"time: about {clock_text(told.seconds)} with {workers}, {told.decoding:.0%} of it "
            f"decoding (measured on {told.tried} of them)"
        )
    return lines


def render_cache_info(report: CacheInfoReport) -> Rendered:
    """What a cache holds and what made it."""
    manifest = report.manifest
    state = "complete" if manifest.complete else "not finished"
    size = sum(entry.bytes for entry in manifest.shards)
    shards = counted(len(manifest.shards), "shard")
    head = f"{report.folder}\n{state}, {shards}, {size_text(size)}"
    rows: tuple[tuple[str | int, ...], ...] = tuple(
        (
            *(split, one.expected, one.found, one.partial, one.failed),
            *(one.sound[state] for state in AudioState),
        )
        for split, one in report.coverage.items()
    )
    states = (f"sound {state}" for state in AudioState)
    columns = ("split", "videos", "found", "partial", "failed", *states)
    facts = [f"{name:<17}{value}" for name, value in manifest.fingerprint.to_json().items()]
    told = "\n".join([*_extras(manifest), *facts])
    return [head, Table(title="", columns=columns, rows=rows), told]


def _extras(manifest: Manifest) -> list[str]:
    """What else lies in a cache: pixels, and what the dataset no longer has."""
    lines, pixels = [], [entry for entry in manifest.shards if entry.kind == "pixel"]
    if pixels:
        videos, size = sum(one.items for one in pixels), sum(one.bytes for one in pixels)
        lines.append(f"pixels of {counted(videos, 'video')}, {size_text(size)}")
    gone = {name: len(ids) for name, ids in asdict(manifest.removed).items()}
    if any(gone.values()):
        lines.append(
            f"no longer in the dataset: {_removed_text(gone)} (removed for good by "
            "`vidret cache gc`)"
        )
    return lines


def _removed_text(removed: Mapping[str, int]) -> str:
    words = (counted(count, name.removesuffix("s")) for name, count in removed.items() if count)
    return " and ".join(words)


def render_cache_verify(report: CacheCheckReport) -> Rendered:
    """Every file that is not as it was written."""
    if not report.problems:
        return f"{report.folder} is whole: every byte is as it was written"
    return "\n".join(f"{problem.file} {problem.what}" for problem in report.problems)


def render_cache_repair(report: CacheCheckReport) -> Rendered:
    """What was removed, and how to make it again."""
    if not report.problems:
        return f"{report.folder} is whole: nothing to repair"
    lines = [f"{problem.file} {problem.what}" for problem in report.problems]
    again = "what was damaged is removed: the `vidret extract` that made this cache makes it again"
    return "\n".join([*lines, again])


def render_cache_export(report: CacheExportReport) -> Rendered:
    """What was written where."""
    names = [path.name for path in report.files]
    return "\n".join([f"{report.folder.name} -> {report.to}", *names])


def render_cache_gc(report: CacheGcReport) -> Rendered:
    """What was of no use, and how much room it took."""
    if not report.garbage:
        return "nothing to remove: all of it is in use"
    verb = "would be freed" if report.dry_run else "freed"
    lines = [f"{one.path}: {one.what}, {size_text(one.bytes)}" for one in report.garbage]
    return "\n".join([*lines, f"{verb}: {size_text(report.bytes)}"])


def render_weights_verify(report: WeightsReport) -> Rendered:
    """What a file of weights is, a fact a line."""
    checksums = {
        "published": f"the published one of {report.publisher}",
        "other": f"not the published one of {report.publisher}",
        "unknown": "of the publisher unknown to us",
    }
    tensors = counted(report.tensors, "tensor")
    dtypes = ", ".join(f"{count:,} {name}" for name, count in report.dtypes.items())
    lines = [
        str(report.path),
        f"form        {report.form}, {size_text(report.bytes)}",
        f"holds       {tensors} ({dtypes}), {report.parameters:,} numbers",
        f"sha256      {report.sha256}",
        f"checksum    {checksums[report.checksum]}",
        f"model       {report.model or ' or '.join(report.candidates) or 'none that vidret knows'}",
    ]
    if BASE_KEY in report.metadata:
        base, digest = report.metadata[BASE_KEY], report.metadata.get(DIGEST_KEY, "")
        lines.append(f"base        {base}, weights {digest}: the file holds what differs from it")
    if report.activation:
        lines.append(f"activation  {report.activation}, by {report.activation_source}")
    else:
        lines.append("activation  the file does not say; the model's name decides")
    differing = {
        "missing": report.missing,
        "unexpected": report.unexpected,
        "other shape": report.other_shape,
        "not finite": report.not_finite,
    }
    lines += [f"{kind:<12}{_some(names)}" for kind, names in differing.items() if names]
    return "\n".join([*lines, "! this file is not good" if report.problem else "this file is good"])


def render_weights_convert(report: ConvertReport) -> Rendered:
    """What was written, and how to use it."""
    lines = [
        f"{report.form} -> {report.path}: {counted(report.tensors, 'tensor')}, equal to those "
        f"read, {size_text(report.bytes)}"
    ]
    lines += [f"{key:<22} {value}" for key, value in sorted(report.metadata.items())]
    if report.spec:
        lines.append(f"use it as {report.spec}")
    else:
        lines.append("its activation is not known: give --model to write down which model it is of")
    return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - LISTED_TENSORS:,} more" if len(names) > LISTED_TENSORS else ""
    return ", ".join(names[:LISTED_TENSORS]) + more


def render_train(report: TrainReport) -> Rendered:
    """What was fitted on what, and the epoch that was kept."""
    select_on = report.run.settings["select_on"]
    lines = [
        f"{told_name(report.run.head)}, seed {report.run.seed}: {report.captions:,} captions of "
        f"{report.videos:,} videos, {report.with_sound:,} with sound"
    ]
    for stage, best in report.best.items():
        lines.append(
            f"stage {stage}: kept epoch {best['epoch']:.0f} of {len(report.run.history[stage])}, "
            f"R@1 {best['R@1']:.1f} on {select_on} (text to video, {best['queries']:.0f} queries)"
        )
    if not report.best:
        learns = report.run.head != "mean"
        why = "no epoch was asked for" if learns else "this head has nothing to learn"
        lines.append(f"{why}: it is as it begins")
    if report.run.head.endswith("+cmfi"):
        weight, on = report.audio_weight, ""
        if report.run.audio_weight is not None:
            on = f", found on {select_on}"
        lines.append(f"sound counts {weight:g} times in a score{on}")
    if report.was_done:
        lines.append("it was finished before: nothing was trained now")
    lines.append(f"cache: {report.run.cache.name}")
    lines.append(f"run -> {report.folder}")
    return "\n".join([*lines, _how_to_score(report.folder)])


def render_finetune(report: FinetuneReport) -> Rendered:
    """What learned at which rate, and the numbers before and after."""
    run, select_on = report.run, report.run.settings["select_on"]
    lines = [
        f"{told_name(run.head)} from run {origin_of(run).run}, seed {run.seed}: "
        f"{report.captions:,} captions of {report.videos:,} videos"
    ]
    for stage, epoch in report.kept.items():
        tried = len(run.history[stage]) - 1
        last = f"those of the last one -> run {run.name}/{LAST}{stage}"
        kept = f"epoch {epoch} of {tried}"
        if not epoch:
            kept = f"the start: none of {tried} was better, {last}" if tried else "the start"
        lines.append(f"stage {stage}: {_what_learned(run, stage)}; kept {kept}")
    if report.kept:
        lines.append(
            f"R@1 on {select_on}: {report.before['R@1']:.1f} before, "
            f"{report.after['R@1']:.1f} after (text to video, {report.after['queries']:.0f} "
            "queries)"
        )
    else:
        lines.append("this head has nothing to learn: it is as it was")
    lines.append(f"run -> {report.folder}")
    if report.extract:
        lines.append(f"its encoders are its own, so encode anew: {report.extract}")
    return "\n".join([*lines, _how_to_score(report.folder)])


def _how_to_score(run: Path) -> str:
    work = run.parents[1]
    place = [] if work == Config().work else ["--work", str(work)]
    return "score it: " + shlex.join(["vidret", "evaluate", "--run", run.name, *place])


def render_evaluate(report: EvaluateReport) -> Rendered:
    """Both directions of one run."""
    table = ranks_table(
        f"{report.run}: {setting_line(report.setting)}",
        report.scores.t2v,
        report.scores.v2t,
        caption=setting_caption(report.setting, seeds=1),
    )
    if not report.scores.kinds:
        return [table, *reranked_tables(report.reranked)]
    kinds = Table(
        title="R@1 text to video, by what decides the caption",
        columns=tuple(report.scores.kinds),
        rows=(tuple(report.scores.kinds.values()),),
    )
    return [table, "", kinds, *reranked_tables(report.reranked)]


def setting_line(setting: Setting) -> str:
    """What numbers are measured on, in a line."""
    return (
        f"{setting.dataset}, split {setting.split}, {setting.videos:,} videos, "
        f"{setting.captions:,} captions, protocol {setting.protocol}"
    )


def setting_caption(setting: Setting, *, seeds: int) -> str:
    """What else numbers must say about themselves."""
    oracle = (
        " (oracle: picked on the split it reports)" if setting.select_on == setting.split else ""
    )
    sentences = [
        f"Chance R@1 is {setting.chance:.2f}.",
        competition_sentence(setting.v2t_by),
        f"Epochs picked on {setting.select_on}{oracle}.",
        *found_sentences(setting),
    ]
    if setting.split == "train":
        sentences.insert(0, "Heads learn from this split: it does not tell how they find others.")
    if seeds > 1:
        sentences.insert(0, f"Mean ± standard deviation over {seeds} seeds.")
    return " ".join(sentences)


def found_sentences(setting: Setting) -> list[str]:
    """What of a split was there to be measured on, and what its dataset notes."""
    coverage = setting.coverage
    sentences = [
        f"Videos found {coverage.found:,} of {coverage.expected:,}{_in_part(coverage)}; sound: "
        + _sound_line({str(state): count for state, count in coverage.sound.items()})
        + "."
    ]
    if setting.dropped_captions:
        sentences.append(f"{setting.dropped_captions:,} captions of missing videos left out.")
    return [*sentences, *(f"Note: {note}." for note in setting.notes)]


def _in_part(coverage: Coverage) -> str:
    return f", {coverage.partial:,} of them damaged and there in part" if coverage.partial else ""


def _what_learned(run: Run, stage: str) -> str:
    """The heads and encoders that a stage of a fine-tuning trained, with their learning rates."""
    parts = [f"{STAGE_HEADS[stage]} (lr {run.settings['lr']:g})"]
    origin = origin_of(run)
    adapters = [f"adapters of rank {origin.lora}"] if origin.lora else []
    limits = ", ".join([*origin.limits, *adapters])
    for encoder in learning_encoders(run, stage):
        lr = rate_of_encoder(origin, stage)
        parts.append(f"{ENCODER_NAMES[encoder]} ({f'{limits}, ' if limits else ''}lr {lr:g})")
    return ", ".join(parts)


def _sound_line(sound: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in sound.items())
