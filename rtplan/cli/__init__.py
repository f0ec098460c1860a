"""The command line: one file per sub-command; parse, call, print. Exit codes are decided here."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

import typer

from rtplan.errors import RtplanError

#: Sub-command to the module whose function ``command`` it is. Modules import heavy things only when called.
COMMANDS: dict[str, str] = {
    "demo": "rtplan.cli.demo",
    "run": "rtplan.cli.run",
    "study": "rtplan.cli.study",
    "batch": "rtplan.cli.batch",
    "check": "rtplan.cli.check",
    "names": "rtplan.cli.names",
    "convert": "rtplan.cli.convert",
    "deidentify": "rtplan.cli.deidentify",
    "doctor": "rtplan.cli.doctor",
    "licences": "rtplan.cli.licences",
    "gamma": "rtplan.cli.gamma",
    "protocols": "rtplan.cli.protocols",
    "outcome": "rtplan.cli.outcome",
    "dvh": "rtplan.cli.dvh",
    "dose": "rtplan.cli.dose",
    "predict-dose": "rtplan.cli.predict_dose",
    "plan": "rtplan.cli.plan",
    "spacer": "rtplan.cli.spacer",
    "phantom": "rtplan.cli.phantom",
    "synct": "rtplan.cli.synct",
    "segment": "rtplan.cli.segment",
    "train": "rtplan.cli.train",
    "fingerprint": "rtplan.cli.fingerprint",
    "review": "rtplan.cli.review",
    "serve": "rtplan.cli.serve",
    "view": "rtplan.cli.view",
    "diff": "rtplan.cli.diff",
    "models": "rtplan.cli.models",
    "report": "rtplan.cli.report",
}

#: Sub-commands with a subject of their own.
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "commission": (
        "Fit to a clinic's own measurements.",
        {"beam": "rtplan.cli.commission_beam"},
    ),
    "evaluate": (
        "Score a network or contours against a reference.",
        {
            "openkbp": "rtplan.cli.evaluate_openkbp",
            "synct": "rtplan.cli.evaluate_synct",
            "contours": "rtplan.cli.evaluate_contours",
        },
    ),
}

DONE, REFUSED, WRONG_CALL, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130


def build() -> typer.Typer:
    """Return the application with every sub-command of the table."""
    app = typer.Typer(
        name="rtplan",
        help="MR-only radiotherapy planning: synthetic CT, dose, DVH, toxicity. Research use only.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
        pass

    for name, module in COMMANDS.items():
        app.command(name)(importlib.import_module(module).command)
    for name, (words, subjects) in GROUPS.items():
        group = typer.Typer(help=words, no_args_is_help=True)
        for subject, module in subjects.items():
            group.command(subject)(importlib.import_module(module).command)
        app.add_typer(group, name=name)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    0 done; 1 refused or failed, nothing written; 2 wrong call; 3 finished with failed patients or a
    missed must-goal under ``--strict``; 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    raise SystemExit(_run(arguments, debug="--debug" in arguments))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        result = build()(arguments, prog_name="rtplan", standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as wrong:  # unknown command, missing or bad option
        _show(wrong)
        return WRONG_CALL
    except (typer.Abort, KeyboardInterrupt):
        _say("Interrupted; nothing was written.")
        return INTERRUPTED
    except RtplanError as refused:
        if debug:
            raise
        _say(str(refused))
        return REFUSED
    except OSError as failed:
        if debug:
            raise
        _say(_words_for(failed))
        return REFUSED
    except Exception as unforeseen:
        if debug:
            raise
        _say(
            f"Something went wrong that rtplan did not foresee ({type(unforeseen).__name__}). "
            "What to do: call again as rtplan --debug … and report what it prints, without patients' names."
        )
        return REFUSED


def _show(wrong: Exception) -> None:
    show = getattr(wrong, "show", None)
    show() if callable(show) else _say(str(wrong))


def _words_for(failed: OSError) -> str:
    if failed.errno == errno.ENOSPC:
        return "The disk is full; nothing was written. What to do: free space or choose another --out."
    where = f" Where: {failed.filename}." if failed.filename else ""
    what = failed.strerror or type(failed).__name__
    return f"{what}.{where} What to do: check that the path exists and that you may write there."


def _say(message: str) -> None:
    sys.stderr.write(f"rtplan: {message}\n")
