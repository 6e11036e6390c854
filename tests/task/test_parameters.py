from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import models
from roborl.errors import ConfigError, UnknownName
from roborl.task import BodyMass, Draw

MODEL = models.compile_spec(models.load("cartpole"))


def draw_of(n: int) -> Draw:
    return Draw(np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.uint64))


def test_the_nominal_mass_is_the_models():
    assert BodyMass("pole").nominal(MODEL).tolist() == [0.1]


def test_masses_are_uniform_between_the_two_multiples():
    values = BodyMass("pole", 0.5, 2.0).sample(draw_of(5000).units({"mass": 1})["mass"], np.array([0.1]))
    assert values.shape == (5000, 1)
    assert values.min() >= 0.05 and values.max() < 0.2
    # mean and deviation of a uniform number on [0.05, 0.2]: 0.125, 0.15 / sqrt(12)
    assert values.mean() == pytest.approx(0.125, abs=0.003)
    assert values.std() == pytest.approx(0.15 / math.sqrt(12.0), abs=0.002)


def test_mass_and_inertia_are_those_of_the_body_alone():
    fields = {
        "body_mass": np.tile(MODEL.body_mass, (4, 1)),
        "body_inertia": np.tile(MODEL.body_inertia, (4, 1, 1)),
    }
    pole = MODEL.body("pole").id
    BodyMass("pole").bind(MODEL)(fields, np.array([[0.1], [0.2], [0.1], [0.05]]))
    assert fields["body_mass"][:, pole].tolist() == [0.1, 0.2, 0.1, 0.05]
    ratio = fields["body_inertia"][:, pole] / MODEL.body_inertia[pole]
    assert ratio == pytest.approx(np.tile([[1.0], [2.0], [1.0], [0.5]], (1, 3)))
    others = [body for body in range(MODEL.nbody) if body != pole]
    assert (fields["body_mass"][:, others] == MODEL.body_mass[others]).all()
    assert (fields["body_inertia"][:, others] == MODEL.body_inertia[others]).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (1.2, 0.8), (0.5, math.nan)])
def test_multiples_outside_what_is_allowed_are_refused(low, high):
    with pytest.raises(ConfigError, match="BodyMass"):
        BodyMass("pole", low, high)


def test_a_body_that_the_model_lacks_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown body 'pol'; did you mean 'pole'"):
        BodyMass("pol").nominal(MODEL)
