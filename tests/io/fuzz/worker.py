"""Break files, read them, judge the outcome: a process of its own under limits, a JSON line for each case."""

import argparse
import json
import logging
import os
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import oracle
from mutations import MUTATIONS

from rtplan.errors import RtplanError
from rtplan.io import deidentify, registration, rtdose, rtplan, rtplan_delivery, rtstruct, seg
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient, write_patient
from rtplan.io.preflight import preflight

#: What one case may take: seconds of the processor, which other programs cannot lengthen, and of the clock.
SECONDS, CLOCK_SECONDS, GIB = 10, 120, 2**30


class Hang(BaseException):
    """Not an Exception, so that no reader catches it."""


class Sink(logging.Handler):
    """Keep every log record."""

    def __init__(self):
        super().__init__(0)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


class Writes:
    """Every path that Python opens for writing, makes, moves or removes; kept where it lies outside."""

    def __init__(self, allowed):
        self.allowed, self.outside, self.on = str(allowed), [], False
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            written = any(c in (mode or "") for c in "wax+") or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
            if written and isinstance(path, str | bytes | Path):
                self._judge(path)
        elif event in (
            "os.mkdir",
            "os.rename",
            "os.remove",
            "os.rmdir",
            "os.symlink",
            "os.link",
            "shutil.move",
        ):
            for path in arguments[: 1 + (event in ("os.rename", "os.link", "shutil.move"))]:
                if isinstance(path, str | bytes | Path) and os.path.isabs(os.fsdecode(path)):
                    self._judge(path)  # others are relative to a folder that is open already

    def _judge(self, path):
        full = os.path.realpath(os.fsdecode(path))
        if not full.startswith(self.allowed) and not full.startswith(("/dev/null", "/proc/self")):
            self.outside.append(full)


def reading(kind, paths):
    """Return what rtplan reads, as labelled arrays."""
    return READINGS[kind](paths)


def _image(image):
    return [("affine", image.grid.affine), ("array", image.array)]


def _beams(summary):
    for b in summary.beams:
        yield "beam", np.array([b.gantry_deg, b.collimator_deg, b.couch_deg, *(b.isocentre_mm or ())])
        if b.mu_per_fraction is not None:
            yield "mu", np.array([b.mu_per_fraction])


def _plan(paths):
    found = list(_beams(rtplan.read_summary(paths[0])))
    for read in (rtplan.read, rtplan_delivery.read):
        try:
            read(paths[0])
        except RtplanError as refused:
            demand_good_words(refused, paths)
    return found


def _segments(paths):
    for structure in seg.read(paths[0]):
        mask = structure.region
        points = mask.grid.to_patient(np.argwhere(mask.array))
        yield "segment", np.array([len(points), *points.mean(axis=0)])


READINGS = {
    "seg": lambda paths: list(_segments(paths)),
    "series": lambda paths: _image(read_series(paths)),
    "rtdose": lambda paths: _image(rtdose.read(paths[0]).dose),
    "rtstruct": lambda paths: [
        ("ring", ring) for s in rtstruct.read(paths[0]).structures for ring in s.region.rings
    ],
    "rtplan": _plan,
    "reg": lambda paths: [("matrix", r.matrix) for r in registration.read(paths[0])],
}
#: What rtplan may leave out with a notice: then each thing that it gives must be one that stands in the file.
SUBSET = ("rtstruct", "reg", "rtplan", "seg")


class Broken(AssertionError):
    """An outcome that is not allowed."""


def demand_good_words(refused, paths):
    said = str(refused)
    for secret in SECRETS:
        if secret in said:
            raise Broken(f"the error shows a name: {said}")
    if not any(str(path) in said or str(Path(path).parent) in said for path in paths):
        raise Broken(f"the error names no file: {said[:120]}")
    if "fit into memory" in said or "does not fit." in said:
        raise Broken("it asked for more memory than there is")


SECRETS = []


def judge(kind, paths, wanted):
    """Return ``same``, ``other`` or ``refused``; raise Broken for anything else."""
    try:
        got = reading(kind, paths)
    except RtplanError as refused:
        demand_good_words(refused, paths)
        return "refused"
    subset = kind in SUBSET
    if oracle.same(got, wanted, subset=subset):
        return "same"
    try:
        by_hand = oracle.by_hand(kind, paths)
    except Exception as unreadable:
        raise Broken(f"accepted, but by hand it is unreadable ({type(unreadable).__name__})") from None
    if not oracle.same(got, by_hand, subset=subset):
        raise Broken("silently another volume")
    return "other"


def looked(look, folder, victim):
    """Return what a look at a folder gives, or None where it refuses in good words."""
    try:
        found = look(folder)
    except RtplanError as refused:
        demand_good_words(refused, [folder / "x", victim])
        return None
    if any(secret in f"{n.message} {n.action}" for n in found.notices for secret in SECRETS):
        raise Broken("a notice shows a name")
    return found


def judge_folder(folder, victim, wanted, out):
    """Read a whole patient with one broken object: the others must read as before; write it again."""
    looked(preflight, folder, victim)
    patient = looked(read_patient, folder, victim)
    if patient is None:
        return "refused"
    for role, image in patient.images.items():
        before = wanted.images.get(role)
        own = victim.parent.name in (role, f"MR_{role}", f"CT_{role}")
        if before is not None and not own and not oracle.same(_image(image), _image(before)):
            raise Broken(f"{role} changed, though {victim.name} was broken")
    for action in (lambda: write_patient(patient, out), lambda: deidentify.deidentify(folder, out)):
        try:
            action()
        except RtplanError as refused:
            if any(secret in str(refused) for secret in SECRETS):
                raise Broken("the error shows a name") from None
        remove(out)
    return "same"


def remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    if folder.exists():
        folder.rmdir()


def one(case, seeds, scratch, writes):
    """Break one object by one draw, read it, put it back."""
    rng = np.random.default_rng([2026, case])
    seed = seeds[int(rng.integers(0, len(seeds)))]
    names = list(MUTATIONS)
    mutation = names[int(rng.integers(0, len(names)))]
    paths = [Path(p) for p in seed["paths"]]
    victim = paths[int(rng.integers(0, len(paths)))]
    whole = victim.read_bytes()
    said = {"case": case, "seed": seed["name"], "mutation": mutation, "file": victim.name}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        victim.write_bytes(MUTATIONS[mutation](whole, rng))
        sink.said.clear()
        timers(SECONDS, CLOCK_SECONDS)
        writes.on = True
        if seed["kind"] == "patient":
            outcome = judge_folder(Path(seed["folder"]), victim, seed["wanted"], scratch / "out")
        else:
            outcome = judge(seed["kind"], paths, seed["wanted"])
        writes.on = False
        timers(0, 0)
        if writes.outside:
            raise Broken(f"wrote outside: {writes.outside[:2]}")
        if any(secret in line for line in sink.said for secret in SECRETS):
            raise Broken("the log shows a name")
    except Broken as broken:
        outcome, said["why"] = "broken", str(broken)
    except Hang:
        outcome, said["why"] = "broken", f"longer than {SECONDS} s"
    except BaseException as other:
        if isinstance(other, KeyboardInterrupt):
            raise
        outcome, said["why"] = "broken", f"{type(other).__name__}: {traceback.format_exc(limit=-4)}"
    finally:
        timers(0, 0)
        writes.on = False
        writes.outside.clear()
        victim.write_bytes(whole)
        remove(scratch / "out")
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 2**20
    return said | {"outcome": outcome} | ({"more_gib": more} if more > 0.1 else {})


def timers(processor, clock):
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, clock)


def hang(*_):
    raise Hang


sink = Sink()


def say(fact):
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("place", type=Path, help="folder with seeds.json")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    given = parser.parse_args()
    logging.getLogger().addHandler(sink)
    logging.getLogger().setLevel(0)
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    said = json.loads((given.place / "seeds.json").read_text())
    SECRETS.extend(said["secrets"])
    scratch = given.place.resolve()
    seeds = said["seeds"]
    for seed in seeds:
        patient = seed["kind"] == "patient"
        seed["wanted"] = (
            read_patient(Path(seed["folder"]))
            if patient
            else reading(seed["kind"], [Path(p) for p in seed["paths"]])
        )
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * GIB, size + 2 * GIB))
    signal.signal(signal.SIGALRM, hang)
    signal.signal(signal.SIGPROF, hang)
    writes = Writes(scratch)
    for case in range(given.first, given.last):
        say(one(case, seeds, scratch, writes))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say({"peak_gib": peak / GIB})


if __name__ == "__main__":
    main()
