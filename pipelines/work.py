"""What preprocessing a dataset cost, as a person reads it."""

from collections.abc import Mapping

KINDS = ("seconds", "cpu_seconds", "bytes", "rejected")


def work_lines(statistics: Mapping[str, float]) -> list[str]:
    """A line on all of it and a table of the stages, the dearest first; nothing where nothing was measured."""
    if not statistics.get("seconds"):
        return []
    stages = {name.partition(".")[2] for name in statistics if name.partition(".")[0] in KINDS and "." in name}
    rows = {stage: [statistics.get(f"{kind}.{stage}", 0.0) for kind in KINDS] for stage in stages}
    clips, seconds = statistics.get("clips", 0.0), statistics["seconds"]
    lines = [f"work         {seconds:.1f} s of workers, {seconds / max(clips, 1.0):.2f} s a clip"]
    lines.append(f"  {'stage':10} {'wall s':>9} {'cpu s':>9} {'MB':>9} {'rejected':>9}")
    for stage, (wall, cpu, size, rejected) in sorted(rows.items(), key=lambda row: (-row[1][0], row[0])):
        if any(rows[stage]):
            lines.append(f"  {stage:10} {wall:9.1f} {cpu:9.1f} {size / 1e6:9.1f} {rejected:9.0f}")
    return lines
