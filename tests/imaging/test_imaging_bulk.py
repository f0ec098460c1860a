"""Density arms: the published values land where their tissue is, and nothing else differs."""

import numpy as np
import pytest

from rtplan import resources
from rtplan.domain import Grid, Image, Mask, Source
from rtplan.errors import FormatError, GeometryMismatch, ModelError, UnknownName
from rtplan.imaging.bulk import AIR_HU, ArmRules, bulk_arms, conform, load_bulk
from rtplan.imaging.tissue import classes_of, gas_of, load_rules

GRID = Grid.axial((4, 40, 50), (3.0, 2.0, 2.0), (5.0, 6.0, 7.0), "f")
MODELS = [load_bulk(name) for name in ("CT0", "CTpop", "CTpop_bone", "CTstrat")]


def scene() -> tuple[Image, Mask]:
    """A body with a fat layer, muscle, a hollow bone, and gas."""
    hu = np.full(GRID.shape, -1000.0)
    hu[:, 4:36, 4:46] = -105.0
    hu[:, 8:32, 8:42] = 40.0
    hu[:, 12:22, 12:22] = 900.0
    hu[:, 14:20, 14:20] = 60.0  # marrow
    hu[:, 24:30, 30:36] = -900.0
    hu[:, 37:39, :] = 200.0  # couch
    body = np.zeros(GRID.shape, bool)
    body[:, 4:36, 4:46] = True
    return Image(GRID, hu, "CT", Source(study_uid="1.2", patient_position="HFS")), Mask(GRID, body)


def test_classes_are_read_from_hu() -> None:
    ct, body = scene()
    classes = {name: mask.array for name, mask in classes_of(ct, body).items()}
    assert classes["bone"][:, 12:22, 12:22].all()  # with its marrow
    assert classes["bone"].sum() == 4 * 100
    assert classes["gas"].sum() == 4 * 36
    assert classes["fat"][2, 5, 20]
    assert not classes["fat"][2, 20, 25]
    total = sum(mask.astype(int) for mask in classes.values())
    assert total.max() == 1  # no voxel in two classes
    assert not classes["bone"][:, 37:39].any()  # the couch is no bone


def test_published_values_land_in_their_tissue() -> None:
    ct, body = scene()
    arms = bulk_arms(body, classes_of(ct, body), MODELS, like=ct.source, made_from="the CT")
    assert list(arms) == ["CT0", "CTpop", "CTpop_bone", "CTstrat"]
    muscle, fat, marrow, outside = (1, 20, 25), (1, 5, 20), (1, 16, 16), (1, 38, 20)
    values = {
        name: [float(arm.array[at]) for at in (muscle, fat, marrow, outside)] for name, arm in arms.items()
    }
    assert values["CT0"] == [0.0, 0.0, 0.0, -1000.0]
    np.testing.assert_allclose(values["CTpop"], [-46.3, -46.3, -46.3, -1000.0], rtol=1e-6)
    np.testing.assert_allclose(values["CTpop_bone"], [-46.3, -46.3, 365.5, -1000.0], rtol=1e-6)
    np.testing.assert_allclose(values["CTstrat"], [23.3, -109.5, 365.5, -1000.0], rtol=1e-6)
    assert "the CT" in arms["CTstrat"].source.description
    assert "the CT" not in arms["CT0"].source.description
    assert arms["CT0"].source.patient_position == "HFS"


def test_an_arm_whose_classes_are_missing_is_left_out() -> None:
    _, body = scene()
    assert list(bulk_arms(body, {}, MODELS)) == ["CT0", "CTpop"]


def rules(gas_rule, support=None) -> ArmRules:
    ct, body = scene()
    return ArmRules(body, ct, support, gas_of(ct, body), gas_rule)


@pytest.mark.parametrize("gas_rule", ["water", "as_reference"])
def test_gas_and_couch_follow_one_rule_in_every_arm(gas_rule) -> None:
    ct, body = scene()
    arms = {"CT": ct, **bulk_arms(body, classes_of(ct, body), MODELS)}
    done = {name: conform(arm, rules(gas_rule)).array for name, arm in arms.items()}
    gas = gas_of(ct, body).array
    for array in done.values():
        np.testing.assert_array_equal(array[gas], 0.0 if gas_rule == "water" else ct.array[gas])
        np.testing.assert_array_equal(array[~body.array], AIR_HU)


def test_gas_that_only_the_arm_has_follows_the_rule_too() -> None:
    ct, body = scene()
    hu = ct.array.copy()
    hu[:, 10:12, 30:34] = -800.0
    other = ct.with_array(hu)
    np.testing.assert_array_equal(conform(other, rules("water")).array[:, 10:12, 30:34], 0.0)
    np.testing.assert_array_equal(conform(other, rules("as_reference")).array[:, 10:12, 30:34], 40.0)
    assert body.array[:, 10:12, 30:34].all()


def test_outside_the_support_all_arms_take_the_reference() -> None:
    ct, body = scene()
    seen = np.zeros(GRID.shape, bool)
    seen[1:3, :, 10:30] = True
    wanted = rules("water", Mask(GRID, seen))
    reference = conform(ct, wanted).array
    for arm in bulk_arms(body, classes_of(ct, body), MODELS).values():
        array = conform(arm, wanted).array
        np.testing.assert_array_equal(array[~seen], reference[~seen])
        assert (array != reference).any()


def test_the_rules_are_idempotent() -> None:
    ct, _ = scene()
    once = conform(ct, rules("water"))
    np.testing.assert_array_equal(conform(once, rules("water")).array, once.array)


def test_no_gas_leaves_no_rim() -> None:
    hu = np.full(GRID.shape, 20.0)
    hu[1, 20, 20] = -500.0
    hu[1, 20, 21] = -200.0  # partial volume
    hu[1, 20, 22] = -90.0
    gas = gas_of(Image(GRID, hu), Mask(GRID, np.ones(GRID.shape, bool))).array
    assert gas.sum() == 2


def test_bad_arms_are_refused() -> None:
    ct, body = scene()
    with pytest.raises(ModelError, match="finite"):
        conform(ct.with_array(np.full(GRID.shape, np.nan)), rules("water"))
    other = Grid.axial(GRID.shape, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "f")
    with pytest.raises(GeometryMismatch):
        conform(Image(other, ct.array), rules("water"))
    with pytest.raises(GeometryMismatch):
        classes_of(ct, Mask(other, body.array))


def test_every_file_of_the_shelf_is_valid_and_sourced() -> None:
    names = resources.names("models/bulk")
    arms = [load_bulk(name) for name in names if name != "classes_ct"]
    assert {arm.arm for arm in arms} == {"CT0", "CTpop", "CTpop_bone", "CTstrat"}
    for arm in arms:
        assert arm.tissue[0].name == "body", "the body is painted first"
        assert all(t.source for t in arm.tissue)
        assert set(arm.needs) == {t.name for t in arm.tissue} - {"body"}
    assert load_rules().bone.above_hu == 200.0
    with pytest.raises(UnknownName, match="CTpop"):
        load_bulk("CTnone")


def test_a_broken_file_says_so(tmp_path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('schema = 1\nkind = "arm"\nname = "x"\n')
    with pytest.raises(FormatError, match=r"bad\.toml"):
        load_bulk(str(bad))
    bad.write_text("schema = = 1")
    with pytest.raises(FormatError, match=r"bad\.toml"):
        load_rules(str(bad))
