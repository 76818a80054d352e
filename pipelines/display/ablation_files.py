"""A table of heads into files: each form by the end of its name, and a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

from vidret.data.errors import MissingError
from vidret.pipelines.ablation.report import AblateReport
from vidret.pipelines.display.ablated import render_ablate
from vidret.pipelines.display.ablation_forms import ablation_text
from vidret.pipelines.display.tables import show

FORM_OF = {".md": "markdown", ".tex": "latex", ".json": "json", ".csv": "csv", ".txt": "table"}


def write_ablation(
    report: AblateReport,
    *,
    out: Sequence[Path] | None,
    plot: Sequence[Path] | None,
    plot_cost: Sequence[Path] | None = None,
) -> list[Path]:
    """Write the files that were asked for, and return them.

    Raises:
        MissingError: one of them cannot be written.
    """
    for path in out or ():
        _write(path, _text(report, FORM_OF[path.suffix.lower()]).encode())
    for path in plot or ():
        from vidret.pipelines.display.ablation_plot import plotted

        _write(path, plotted(report, path.suffix.lower().removeprefix(".")))
    for path in plot_cost or ():
        from vidret.pipelines.display.cost_plot import cost_plotted

        _write(path, cost_plotted(report, path.suffix.lower().removeprefix(".")))
    return [*(out or ()), *(plot or ()), *(plot_cost or ())]


def _text(report: AblateReport, form: str) -> str:
    if form != "table":
        return ablation_text(report, form)
    file = io.StringIO()
    show(render_ablate(report), file=file)
    return file.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise MissingError(
            f"cannot write {path}: {error.strerror or error}; all fits are kept, so give the same "
            "command again with another file"
        ) from error
