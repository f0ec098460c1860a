"""The paired question by hand: one plan on two density images of a digital patient, the change in risk."""

from rtplan import pipeline
from rtplan.dosimetry.protocol import load_protocol
from rtplan.phantom.cohort import make_patient
from rtplan.planning.optimise import OptimiseSettings
from rtplan.steps import (
    AddMargins,
    EstimateOutcome,
    FindBody,
    MakeBulkArms,
    OptimisePlan,
    RecalculateArms,
)


def main() -> None:
    protocol = load_protocol("prostate_boost_flame")
    patient = make_patient("valid", 7, spacing_zyx_mm=(6.0, 4.0, 4.0), contrasts=())
    # The digital patient's planning target gets the name that the protocol prescribes to.
    target = patient.structure("PTVp")
    patient = patient.with_structures(type(target)("PTVp_7700", target.kind, target.region))
    steps = (
        FindBody(),
        MakeBulkArms(models=("CT0",)),
        AddMargins(protocol),
        OptimisePlan(protocol, settings=OptimiseSettings(beams=5, grid_mm=6.0)),
        RecalculateArms(grid_mm=6.0),
        EstimateOutcome(protocol),
    )
    patient = pipeline.run(steps, patient, seed=1)
    for finding in patient.findings:
        if finding.metric == "NTCP" and finding.value is not None:
            print(f"{finding.arm} {finding.quantity}: {100 * finding.value:+.3f} (percent or pp)")


if __name__ == "__main__":
    main()
