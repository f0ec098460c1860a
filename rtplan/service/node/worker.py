"""The process of one job: takes its order from stdin, runs the pipeline, and ends with the node."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from rtplan.errors import RtplanError
from rtplan.service.node.config import RuleSettings


def main() -> int:
    """Run one job; the outcome is a file that appears whole."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_node, daemon=True).start()
    outcome = Path(order["outcome"])
    try:
        run(order)
        said = {"state": "done", "error": ""}
    except RtplanError as refused:
        sys.stderr.write(f"{refused}\n")
        said = {"state": "refused", "error": type(refused).__name__}
    part = outcome.with_suffix(".part")
    part.write_text(json.dumps(said), encoding="utf-8")
    part.rename(outcome)
    return 0


def run(order: dict[str, Any]) -> None:
    """Run the pipeline on the snapshot of a study."""
    from rtplan.case.run import Place, run_case
    from rtplan.planning.device import set_threads

    set_threads(order["threads"])
    settings = RuleSettings.model_validate(order["rule"]).case_settings(order["device"])
    place = Place(Path(order["folder"]), Path(order["out"]), resume=True, salt=order["salt"])
    run_case(place, settings, command="serve")


def _end_with_the_node() -> None:
    """Wait until the other end of stdin is gone, then end at once: nobody would take the results."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
