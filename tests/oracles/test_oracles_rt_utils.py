"""Structure sets against rt-utils, an independent writer and reader that draws through voxel centres."""

import warnings

import numpy as np
import pytest

from rtplan.domain import Contours, Grid, Identity, Image, Mask, Structure
from rtplan.imaging.contour import mask_on
from rtplan.io import rtstruct, rtstruct_write
from rtplan.io.image_write import write_series

pytestmark = pytest.mark.peer

RADIUS_MM = 25.0


@pytest.fixture(scope="module")
def builder():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("rt_utils", reason="rt-utils is not installed").RTStructBuilder


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A square CT with isotropic pixels, the only kind that rt-utils 1.2.7 reads right."""
    folder = tmp_path_factory.mktemp("ct")
    grid = Grid.axial((24, 96, 96), (2.5, 1.0, 1.0), (-48.0, -40.0, 10.0), "1.2.826.0.1.3680043.8.498.1")
    image = Image(grid, np.zeros(grid.shape))
    identity = Identity(patient_id="oracle", name="Oracle^Ball", study_uid="1.2.826.0.1.3680043.8.498.2")
    written = write_series(image, folder / "ct", identity, description="oracle")
    return folder, Image(grid, image.array, source=written.source), identity


def ball(grid):
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    points = grid.to_patient(np.stack([z, y, x], axis=-1))
    return ((points - grid.to_patient([12, 50, 44])) ** 2).sum(axis=-1) <= RADIUS_MM**2


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_rt_utils_reads_our_structures_where_they_are(builder, series):
    folder, image, identity = series
    mask = ball(image.grid)
    path = folder / "RS.dcm"
    structure = Structure("Rectum", "ORGAN", Mask(image.grid, mask))
    rtstruct_write.write([structure], path, image=image, identity=identity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = builder.create_from(dicom_series_path=str(folder / "ct"), rt_struct_path=str(path))
        theirs = np.moveaxis(read.get_roi_mask_by_name("Rectum"), -1, 0)
    # Its reader paints the border voxels of a contour as inside: a ring of half a voxel too many.
    assert dice(theirs, mask) > 0.97
    assert (theirs & mask).sum() == mask.sum()


def test_we_read_rt_utils_structures_as_the_polygons_they_are(builder, series):
    folder, image, _ = series
    mask = ball(image.grid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = builder.create_new(dicom_series_path=str(folder / "ct"))
        made.add_roi(mask=np.moveaxis(mask, 0, -1), name="Rectum")
        made.save(str(folder / "theirs.dcm"))
    (structure,) = rtstruct.read(folder / "theirs.dcm").structures
    assert isinstance(structure.region, Contours)
    ours = mask_on(structure, image.grid).array
    assert not (ours & ~mask).any()
    # The polygon through voxel centres holds 0.96 of this ball, as was measured of rt-utils by others.
    assert ours.sum() / mask.sum() == pytest.approx(0.958, abs=0.04)
