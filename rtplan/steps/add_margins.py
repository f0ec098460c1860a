"""AddMargins: the structures that a protocol derives from others (PTV, PRV, differences)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

from rtplan.domain import Grid, Notice, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.dosimetry.protocol import Derive, Protocol
from rtplan.imaging.contour import mask_on
from rtplan.imaging.margin import expand, intersect, subtract, union
from rtplan.steps.reference import reference_image

_TARGETS = ("GTV", "CTV", "PTV")


@dataclass(frozen=True)
class AddMargins:
    """Derive structures by the protocol's rules: union of sources, margin, then cut.

    Parameters
    ----------
    protocol : Protocol
        Its ``derive`` rules are followed in their order, so that one may start from another's result.

    Notes
    -----
    A structure that is already there is kept as it was drawn. A rule whose sources are missing is left out
    with a notice.
    """

    protocol: Protocol

    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ("target",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the derived structures and a notice about each rule."""
        for rule in self.protocol.derive:
            patient = _follow(patient, rule)
        return patient

    def would_make(self, patient: Patient) -> tuple[str, ...]:
        """Return ``("target",)`` where a rule that makes a target has all it starts from."""
        names = {*patient.structures, "External"}
        for rule in self.protocol.derive:
            if names.issuperset((*rule.sources, *_cut(rule))):
                names.add(rule.make)
        made = (rule.make for rule in self.protocol.derive if rule.make in names)
        return ("target",) if any(kind_of(name) in _TARGETS for name in made) else ()


def _cut(rule: Derive) -> list[str]:
    return [name for name in (rule.within, rule.minus) if name]


def _follow(patient: Patient, rule: Derive) -> Patient:
    lacks = [name for name in (*rule.sources, *_cut(rule)) if name not in patient.structures]
    if rule.make in patient.structures:
        return patient.with_notices(_notice("STRUCTURE_KEPT", rule, "is there already and is kept as drawn"))
    if lacks:
        text = f"is not derived: {', '.join(lacks)} missing"
        return patient.with_notices(_notice("STRUCTURE_NOT_DERIVED", rule, text))
    grid = reference_image(patient).grid
    made = _made(patient, rule, grid)
    margin = ", ".join(f"{key} {value:g}" for key, value in rule.margin_mm.items())
    text = f"is derived from {' and '.join(rule.sources)}" + (
        f" with a margin of {margin} mm" if margin else ""
    )
    text += f" within {rule.within}" * bool(rule.within) + f" without {rule.minus}" * bool(rule.minus)
    if not rule.verified:
        text += " (the source of this rule is not verified)"
    return patient.with_structures(made).with_notices(_notice("STRUCTURE_DERIVED", rule, text))


def _made(patient: Patient, rule: Derive, grid: Grid) -> Structure:
    """Return the structure of one rule on a grid."""
    parts = [patient.structure(name) for name in rule.sources]
    whole = reduce(lambda a, b: union(rule.make, a, b, grid), parts)
    if rule.margin_mm:
        whole = expand(whole, grid, rule.margin_mm, name=rule.make)
    else:
        whole = Structure(rule.make, kind_of(rule.make), mask_on(whole, grid))
    if rule.within:
        whole = intersect(rule.make, whole, patient.structure(rule.within), grid)
    if rule.minus:
        whole = subtract(rule.make, whole, patient.structure(rule.minus), grid)
    return whole


def _notice(code: str, rule: Derive, text: str) -> Notice:
    if code == "STRUCTURE_NOT_DERIVED":
        action = "supply the missing structures by --structures FILE.dcm."
        return Notice(code, "warn", f"{rule.make} {text}.", action, structure=rule.make)
    return Notice(code, "info", f"{rule.make} {text}.", structure=rule.make)
