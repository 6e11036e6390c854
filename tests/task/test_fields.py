from __future__ import annotations

import numpy as np
import pytest

from roborl.task import Fields


@pytest.fixture
def fields() -> Fields:
    return Fields(
        np,
        {"qpos": np.arange(6.0).reshape(3, 2), "time": np.arange(3.0)},
        {"mass": np.ones((3, 1))},
        {"command": np.arange(3.0)[:, None]},
    )


def test_fields_are_attributes(fields):
    assert fields.qpos.shape == (3, 2) and fields.time.tolist() == [0.0, 1.0, 2.0]


def test_rows_are_copies_with_their_params_and_memory(fields):
    rows = fields[np.array([2, 0])]
    assert rows.qpos.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert rows.params["mass"].shape == (2, 1) and rows.memory["command"].tolist() == [[2.0], [0.0]]
    rows.qpos[...] = -1.0
    rows.memory["command"][...] = -1.0
    assert fields.qpos.min() == 0.0 and fields.memory["command"].min() == 0.0


def test_other_memory_leaves_the_rest_as_it_is(fields):
    other = fields.replace_memory({"command": np.full((3, 1), 9.0)})
    assert other.qpos is fields.qpos and other.params is fields.params
    assert other.memory["command"][0, 0] == 9.0 and fields.memory["command"][0, 0] == 0.0


def test_a_field_that_is_not_there_is_named_with_those_that_are(fields):
    with pytest.raises(AttributeError, match=r"'site_xpos' is not available.*`reads`.*qpos, time"):
        _ = fields.site_xpos
