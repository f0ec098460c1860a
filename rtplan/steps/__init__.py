"""The steps of the clinical pipeline, one file each; CLINICAL is the tuple in clinical order."""

from rtplan.steps.add_margins import AddMargins
from rtplan.steps.compare_arms import CompareArms
from rtplan.steps.correct_mr import CorrectMR
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.evaluate_protocol import EvaluateProtocol
from rtplan.steps.find_body import FindBody
from rtplan.steps.make_bulk_arms import MakeBulkArms
from rtplan.steps.map_surface import MapSurface
from rtplan.steps.optimise_plan import OptimisePlan
from rtplan.steps.recalculate_arms import RecalculateArms
from rtplan.steps.register import Register
from rtplan.steps.sample_doses import SampleDoses
from rtplan.steps.synthesise_ct import SynthesiseCT

#: Each step's settings are given where a case is assembled (`rtplan.case.assemble`).
CLINICAL: tuple[type, ...] = (
    Register,
    CorrectMR,
    FindBody,
    SynthesiseCT,
    MakeBulkArms,
    AddMargins,
    OptimisePlan,
    RecalculateArms,
    SampleDoses,
    EvaluateProtocol,
    EstimateOutcome,
    MapSurface,
    CompareArms,
)
