"""The report of `vidret probe` as people read it: apart from the others, which import torch."""

import textwrap

from vidret.pipelines.display.tables import Rendered
from vidret.pipelines.probe import ProbeReport


def render_probe(report: ProbeReport) -> Rendered:
    """What came of one file, line by line."""
    size = f" ({report.bytes:,} bytes)" if report.bytes else ""
    lines = [
        ("file", f"{report.path}{size}"),
        ("decoder", f"{report.decoder}{', began anew midway' if report.again else ''}"),
        ("state", f"{report.state}, after {report.seconds:.3f} s"),
    ]
    facts = report.facts
    if facts is not None:
        claimed = f" (the file says {report.claimed:.2f} s)" if report.claimed else ""
        pairs = zip(facts.indices.tolist(), facts.times.tolist(), strict=True)
        taken = ", ".join(f"{index} at {seconds:.3f} s" for index, seconds in pairs)
        lines += [
            ("container", facts.container),
            ("pictures", f"{facts.codec}, {facts.width} x {facts.height} pixels"),
            ("duration", f"{facts.duration:.2f} s{claimed}, {facts.num_frames:,} frames"),
            ("sound", f"{facts.audio_state}, {report.sound:.2f} s"),
            ("taken", f"{len(facts.indices):,} frames, {report.sampling}"),
            *(("", line) for line in textwrap.wrap(taken, 70)),
        ]
    return "\n".join(f"{name:<10}{text}".rstrip() for name, text in lines)
