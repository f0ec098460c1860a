"""Spatial Registration: direction as the standard has it; what is not rigid is named, not bent."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from scipy.spatial.transform import Rotation

from rtplan.domain import Identity, Registration
from rtplan.errors import DicomError
from rtplan.io import registration
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

MR_FRAME = "1.2.826.0.1.99.20"


def matrix(shift=(1.5, -22.0, 7.25), angles=(3.0, -8.0, 20.0)):
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    made[:3, 3] = shift
    return made


def write(bare, path, items, *, target=None, sop_class="1.2.840.10008.5.1.4.1.1.66.1"):
    """Items of (frame, images, matrices, type)."""
    ds = bare.start("RTSTRUCT", "1.2.826.0.1.99.30", "1.2.826.0.1.99.31")
    ds.SOPClassUID, ds.Modality = sop_class, "REG"
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.FrameOfReferenceUID = bare.frame if target is None else target
    ds.RegistrationSequence = Items()
    for frame, images, matrices, kind in items:
        item, group = Dataset(), Dataset()
        if frame:
            item.FrameOfReferenceUID = frame
        item.ReferencedImageSequence = Items()
        for uid in images:
            image = Dataset()
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
            item.ReferencedImageSequence.append(image)
        group.MatrixSequence = Items()
        for one in matrices:
            step = Dataset()
            step.FrameOfReferenceTransformationMatrixType = kind
            step.FrameOfReferenceTransformationMatrix = [f"{v:.10g}" for v in np.asarray(one).ravel()]
            group.MatrixSequence.append(step)
        item.MatrixRegistrationSequence = Items([group])
        ds.RegistrationSequence.append(item)
    ds.save_as(path, enforce_file_format=True)
    return path


def test_a_matrix_takes_points_of_the_named_frame_into_the_registered_one(bare, tmp_path):
    """A point of the MR, by hand: x_CT = M x_MR (PS3.3 C.20.2.1.1)."""
    path = write(
        bare,
        tmp_path / "reg.dcm",
        [(bare.frame, (), [np.eye(4)], "RIGID"), (MR_FRAME, (), [matrix()], "RIGID")],
    )
    (found,) = registration.read(path)
    assert (found.from_frame, found.to_frame, found.kind) == (MR_FRAME, bare.frame, "rigid")
    point = np.array([10.0, -20.0, 30.0])
    np.testing.assert_allclose(found.apply(point), (matrix() @ [*point, 1.0])[:3], atol=1e-6)
    np.testing.assert_allclose(found.inverse().apply(found.apply(point)), point, atol=1e-6)


def test_images_tell_the_frame_where_the_item_does_not(bare, tmp_path):
    path = write(bare, tmp_path / "reg.dcm", [("", ("1.9.1", "1.9.2"), [matrix()], "RIGID")])
    (found,) = registration.read(path, {"1.9.1": MR_FRAME})
    assert found.from_frame == MR_FRAME
    with pytest.raises(DicomError, match="names no frame"):
        registration.read(path)
    path = write(bare, tmp_path / "reg.dcm", [("1.2.3", ("1.9.1",), [matrix()], "RIGID")])
    with pytest.raises(DicomError, match="images of another"):
        registration.read(path, {"1.9.1": MR_FRAME})


def test_a_product_is_taken_only_where_its_order_does_not_matter(bare, tmp_path):
    shifts = [matrix((1, 2, 3), (0, 0, 0)), matrix((-4, 5, 6), (0, 0, 0))]
    path = write(bare, tmp_path / "reg.dcm", [(MR_FRAME, (), shifts, "RIGID")])
    np.testing.assert_allclose(registration.read(path)[0].matrix[:3, 3], [-3, 7, 9], atol=1e-6)
    path = write(bare, tmp_path / "reg.dcm", [(MR_FRAME, (), [matrix(), shifts[0]], "RIGID")])
    with pytest.raises(DicomError, match="order matters"):
        registration.read(path)


SHEAR = matrix() @ np.array([[1, 0.05, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (
            matrix() @ np.diag([1.02, 1.0, 1.0, 1.0]),
            "RIGID_SCALE",
            r"RIGID_SCALE.*scales by 1\.0000 to 1\.0200",
        ),
        (SHEAR, "AFFINE", "AFFINE"),
        (matrix() @ np.diag([-1.0, 1.0, 1.0, 1.0]), "RIGID", "mirrors"),
        (matrix().T, "RIGID", "last row"),
    ],
)
def test_what_is_not_rigid_is_refused_and_named(bare, tmp_path, made, kind, words):
    path = write(bare, tmp_path / "reg.dcm", [(MR_FRAME, (), [made], kind)])
    with pytest.raises(DicomError, match=words) as refused:
        registration.read(path)
    assert "reg.dcm" in str(refused.value)


def test_contradictions_are_refused(bare, tmp_path):
    own = write(bare, tmp_path / "a.dcm", [(bare.frame, (), [matrix()], "RIGID")])
    with pytest.raises(DicomError, match="its own frame"):
        registration.read(own)
    twice = [(MR_FRAME, (), [matrix()], "RIGID"), (MR_FRAME, (), [np.eye(4)], "RIGID")]
    with pytest.raises(DicomError, match="in two ways"):
        registration.read(write(bare, tmp_path / "b.dcm", twice))
    with pytest.raises(DicomError, match="into which frame"):
        registration.read(write(bare, tmp_path / "c.dcm", twice[:1], target=""))


def test_what_is_written_says_the_same(tmp_path):
    made = Registration(MR_FRAME, "1.2.3", matrix())
    (found,) = registration.read(registration.write(made, tmp_path / "r.dcm", identity=Identity("P")))
    assert (found.from_frame, found.to_frame) == (MR_FRAME, "1.2.3")
    np.testing.assert_allclose(found.matrix, made.matrix, atol=1e-6)


@pytest.mark.parametrize(
    ("sop_class", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.3", "Deformable Spatial Registration"),
        ("1.2.840.10008.5.1.4.1.1.481.8", "RT Ion Plan"),
    ],
)
def test_objects_that_are_not_read_are_said_by_both_doors(bare, tmp_path, sop_class, words):
    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    write(bare, tmp_path / "x.dcm", [], sop_class=sop_class)
    for notices in (read_patient(tmp_path).notices, preflight(tmp_path).notices):
        (notice,) = [n for n in notices if n.code == "OBJECT_UNREAD"]
        assert (notice.severity, words in notice.message) == ("warn", True)


def test_a_registration_links_the_frames_of_a_patient(bare, tmp_path):
    def change(ds, k):
        ds.FrameOfReferenceUID, ds.PatientPosition = MR_FRAME, "HFS"
        ds.ScanningSequence, ds.EchoTime, ds.RepetitionTime = "SE", 100, 5000

    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    paths = bare.series(
        tmp_path / "mr", np.ones((5, 6, 7), np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=change
    )
    image = bare.pydicom.dcmread(paths[0]).SOPInstanceUID
    write(bare, tmp_path / "reg.dcm", [("", (image,), [matrix()], "RIGID")])
    patient = read_patient(tmp_path)
    assert [(r.from_frame, r.to_frame) for r in patient.registrations] == [(MR_FRAME, bare.frame)]
    assert "FRAMES_UNLINKED" not in [n.code for n in patient.notices]
