"""Counters of the node in the text format of Prometheus.

References
----------
Prometheus exposition formats, text format 0.0.4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

#: Every metric: kind, label (or none), meaning.
METRICS: dict[str, tuple[str, str, str]] = {
    "rtplan_node_received_total": ("counter", "peer", "Objects stored, by caller."),
    "rtplan_node_received_bytes_total": ("counter", "peer", "Bytes of data sets stored."),
    "rtplan_node_duplicates_total": ("counter", "peer", "Objects that were stored before."),
    "rtplan_node_not_stored_total": ("counter", "status", "C-STORE requests answered with a failure."),
    "rtplan_node_associations_total": ("counter", "outcome", "Associations that ended, by how."),
    "rtplan_node_refused_total": ("counter", "why", "Connections and associations refused or cut off."),
    "rtplan_node_runs_total": ("counter", "outcome", "Runs of the pipeline."),
    "rtplan_node_sent_total": ("counter", "target", "Results delivered."),
    "rtplan_node_send_failures_total": ("counter", "target", "Attempts to deliver that failed."),
    "rtplan_node_commitments_total": ("counter", "outcome", "Storage commitments answered and got."),
    "rtplan_node_associations": ("gauge", "", "Associations now."),
    "rtplan_node_instances": ("gauge", "", "Objects kept."),
    "rtplan_node_studies": ("gauge", "state", "Studies by state."),
    "rtplan_node_jobs": ("gauge", "state", "Jobs by state."),
    "rtplan_node_outgoing": ("gauge", "state", "Results to deliver, by state."),
    "rtplan_node_disk_free_bytes": ("gauge", "", "Free on the node's disk."),
    "rtplan_node_up_seconds": ("gauge", "", "Since the node was started."),
}

Gauges = Callable[[], Mapping[str, Mapping[str, float]]]


class Counters:
    """Counts since the start; several threads add to it.

    Examples
    --------
    >>> counters = Counters()
    >>> counters.add("rtplan_node_sent_total", "PACS", 2)
    >>> print(counters.text({}).splitlines()[-1])
    rtplan_node_sent_total{target="PACS"} 2
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, float]] = {}

    def add(self, name: str, label: str = "", count: float = 1) -> None:
        """Add to a counter of the table."""
        assert METRICS[name][0] == "counter"
        with self._lock:
            values = self._values.setdefault(name, {})
            values[label] = values.get(label, 0) + count

    def value(self, name: str, label: str = "") -> float:
        """Return a counter's value."""
        with self._lock:
            return self._values.get(name, {}).get(label, 0)

    def text(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """Return all values as text; gauges by name, then by value of the label."""
        with self._lock:
            values = {name: dict(by_label) for name, by_label in self._values.items()} | dict(gauges)
        lines = []
        for name, (kind, label, meaning) in METRICS.items():
            if name in values:
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
                lines += [_line(name, label, said, number) for said, number in sorted(values[name].items())]
        return "\n".join(lines) + "\n"


def _line(name: str, label: str, said: str, number: float) -> str:
    shown = f"{number:.0f}" if float(number).is_integer() else repr(float(number))
    if not label:
        return f"{name} {shown}"
    escaped = said.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{name}{{{label}="{escaped}"}} {shown}'
