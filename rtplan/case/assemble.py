"""The clinical steps with the settings of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rtplan.case.settings import CaseSettings
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import Derive, OutcomeModel, Protocol
from rtplan.learning.residuals import load_residuals
from rtplan.pipeline import Step
from rtplan.planning.optimise import OptimiseSettings
from rtplan.steps import CLINICAL


def clinical_steps(
    protocol: Protocol, settings: CaseSettings, ledger: Ledger | None = None
) -> tuple[Step, ...]:
    """Return the steps of `rtplan.steps.CLINICAL`, each with what this case asks of it.

    The steps that read DVHs share the ledger; whoever writes curves afterwards may be handed it too.
    """
    wanted = with_outcome(with_margins(protocol, settings.margins), settings.outcome)
    asked = _asked(wanted, settings, ledger or Ledger())
    left_out = set() if "SynCT" in settings.arms else {"SynthesiseCT"}
    if settings.dose_samples:
        load_residuals(settings.model, settings.residuals)  # refused before anything is reckoned
    else:
        left_out.add("SampleDoses")
    return tuple(step(**asked.get(step.__name__, {})) for step in CLINICAL if step.__name__ not in left_out)


def _asked(protocol: Protocol, settings: CaseSettings, ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return, by name of the step, the settings that differ from its own defaults."""
    return {
        "SynthesiseCT": {"model": settings.model, "device": settings.device},
        "MakeBulkArms": {
            "models": tuple(name for name in settings.arms if name not in ("CT", "SynCT")),
            "gas": settings.gas,
        },
        "AddMargins": {"protocol": protocol},
        "OptimisePlan": {
            "protocol": protocol,
            "settings": replace(OptimiseSettings(), beams=settings.beams, grid_mm=settings.grid_mm),
            "plan_on": settings.plan_on,
            "allow_unverified": settings.allow_unverified,
            "device": settings.device,
        },
        "RecalculateArms": {
            "grid_mm": settings.grid_mm,
            "device": settings.device,
            "algorithm": settings.algorithm,
        },
        "SampleDoses": {
            "count": settings.dose_samples,
            "residuals": settings.residuals,
            "model": settings.model,
            "sample_seed": settings.seed,
            "device": settings.device,
            "algorithm": settings.algorithm,
        },
        "EvaluateProtocol": {"protocol": protocol, "ledger": ledger},
        "MapSurface": {"protocol": protocol},
        "EstimateOutcome": {
            "protocol": protocol,
            "parameter_seed": settings.seed,
            "contours": settings.contours,
            "ledger": ledger,
        },
        "CompareArms": {"gamma": settings.gamma},
    }


def with_margins(protocol: Protocol, margins: Mapping[str, Mapping[str, float]]) -> Protocol:
    """Return the protocol with the user's margins: a target ``PTVx_6000`` grows from ``CTVx_6000``.

    Where that structure is missing the step that derives the target says so and leaves it out.
    """
    derived = {entry.make for entry in protocol.derive}
    added = tuple(
        Derive(
            make=name,
            from_=name.replace("PTV", "CTV", 1),
            margin_mm=dict(sides),
            source="user",
            verified=True,
        )
        for name, sides in margins.items()
    )
    kept = tuple(entry for entry in protocol.derive if entry.make not in set(margins) & derived)
    return protocol.model_copy(update={"derive": kept + added})


def with_outcome(protocol: Protocol, models: Sequence[str]) -> Protocol:
    """Return the protocol with further outcome models; one that it names already is not asked twice."""
    named = {entry.model for entry in protocol.outcome}
    added = tuple(OutcomeModel(model=name) for name in dict.fromkeys(models) if name not in named)
    return protocol.model_copy(update={"outcome": protocol.outcome + added})
