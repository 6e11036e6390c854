from __future__ import annotations

import numpy as np
import pytest

from roborl import tasks
from roborl.disturbances import ACTION_DELAY, PUSH_STEPS_LEFT
from roborl.sim import Sim
from roborl.task import Task, Term, joint_pos, joint_vel, last_action, remembered
from roborl.task.observer import OBS_DELAY

# A ball in empty space, with a motor that has next to no effect.
BALL = """
<mujoco>
  <option timestep="0.005" gravity="0 0 0"/>
  <worldbody>
    <body name="ball"><freejoint name="ball"/><geom name="ball" type="sphere" size="0.1" mass="2"/></body>
    <body name="cart" pos="3 0 0">
      <joint name="cart" type="slide" axis="0 0 1" range="-0.2 0.2" limited="true"/>
      <geom name="cart" size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor name="cart" joint="cart" gear="0.001" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


class Ball(Task):
    """A ball in space, beside a cart."""

    robot, control_dt, episode_length_s = "pendulum", 0.02, 1.0
    memory = {"command": 1}
    _position = Term("position", joint_pos("cart"))
    observations = {
        "policy": [
            _position,
            Term("speed", joint_vel("cart"), history=2),
            Term("command", remembered("command")),
            Term("last_action", last_action(1)),
        ],
        "critic": [_position, Term("true_position", joint_pos("cart"))],
    }

    def reset(self, draw, f):
        return {"qvel": np.tile([[0.0] * 6 + [1.0]], (len(f.qpos), 1)), "command": 7.0 + 0.0 * f.qpos[:, :1]}

    def reward_terms(self, before, action, after):
        return {"zero": 0.0 * after.time}


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Ball:
    path = tmp_path_factory.mktemp("model") / "ball.xml"
    path.write_text(BALL)
    return Ball(xml_file=str(path))


def test_an_action_takes_effect_exactly_as_many_control_steps_later_as_was_drawn():
    sim = Sim(tasks.load("HalfCheetah", action_delay=(1, 4)), 40, num_threads=1)
    sim.reset()
    delay = sim.fields.memory[ACTION_DELAY][:, 0].astype(int)
    assert set(delay) == {1, 2, 3, 4}
    sent = np.random.default_rng(0).uniform(-1.0, 1.0, (12, 40, 6))
    for t, action in enumerate(sent):
        sim.step(action)
        for i in range(40):
            expected = sent[t - delay[i], i] if t >= delay[i] else np.zeros(6)
            assert np.array_equal(sim.fields.ctrl[i], expected)


def test_what_is_seen_is_exactly_as_many_control_steps_old_as_was_drawn(ball):
    sim = Sim(ball.with_options(observation_delay=(0, 3)), 40, num_threads=1)
    sim.reset()
    delay = sim.fields.memory[OBS_DELAY][:, 0].astype(int)
    assert set(delay) == {0, 1, 2, 3}
    true = [sim.fields.qpos[:, 7].copy()]
    speed = [sim.fields.qvel[:, 6].copy()]
    for t in range(10):
        sim.step(np.full((40, 1), np.sin(t)))
        true.append(sim.fields.qpos[:, 7].copy())
        speed.append(sim.fields.qvel[:, 6].copy())
        seen = sim.observe()
        for i in range(40):
            then = max(t + 1 - delay[i], 0)
            assert seen["policy"][i, 0] == true[then][i]
            # two readings, the oldest first; before the episode there is the first one
            assert seen["policy"][i, 1:3].tolist() == [speed[max(then - 1, 0)][i], speed[then][i]]
            assert seen["policy"][i, 3:].tolist() == [7.0, np.sin(t)], "what the controller knows is not late"
            assert seen["critic"][i].tolist() == [true[then][i], true[t + 1][i]], "one term is one sensor"


def test_noise_is_new_in_each_step_and_a_bias_lasts_an_episode(ball):
    noisy = ball.with_options(sensor_noise={"position": 0.1}, sensor_bias={"speed": 0.5})
    sim = Sim(noisy, 200, num_threads=1)
    sim.reset()
    errors, biases = [], []
    for _ in range(5):
        sim.step(np.zeros((200, 1)))
        seen = sim.observe()
        errors.append(seen["policy"][:, 0] - sim.fields.qpos[:, 7])
        biases.append(seen["policy"][:, 2] - sim.fields.qvel[:, 6])
        assert np.array_equal(seen["critic"][:, 1], sim.fields.qpos[:, 7])
        assert (seen["policy"][:, 3] == 7.0).all()
    noise, bias = np.stack(errors), np.stack(biases)
    assert noise.std() == pytest.approx(0.1, rel=0.1) and abs(noise.mean()) < 0.02
    assert np.abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.25
    assert np.ptp(bias, axis=0) == pytest.approx(np.zeros(200), abs=1e-12)
    assert np.abs(bias).max() < 0.5 and bias.std() == pytest.approx(0.5 / 3.0**0.5, rel=0.15)
    sim.reset()
    assert not np.isclose(sim.observe()["policy"][:, 2] - sim.fields.qvel[:, 6], bias[0]).any()


def test_one_number_is_meant_for_all_that_is_measured(ball):
    terms = Sim(ball.with_options(sensor_noise=0.2)).describe()["observations"]
    assert [t["noise"] for t in terms["policy"]] == [0.2, 0.2, 0.0, 0.0]
    assert [t["noise"] for t in terms["critic"]] == [0.2, 0.0]


def test_a_push_gives_the_body_its_speed_in_one_control_step_and_then_leaves_it_alone(ball):
    sim = Sim(ball.with_options(push_speed=(0.5, 1.0), push_interval_s=(0.1, 0.2)), 30, num_threads=1)
    sim.reset()
    first = sim.fields.memory[PUSH_STEPS_LEFT][:, 0].astype(int)
    assert first.min() == 5 and first.max() == 10
    pushes = np.zeros(30, int)
    directions = []
    for t in range(1, 31):
        before = sim.fields.qvel[:, :3].copy()
        sim.step(np.zeros((30, 1)))
        gained = sim.fields.qvel[:, :3] - before
        speed = np.linalg.norm(gained, axis=1)
        pushed = speed > 1e-9
        assert np.array_equal(pushed[first >= t], first[first >= t] == t)
        assert (speed[pushed] >= 0.5 - 1e-9).all() and (speed[pushed] < 1.0).all() and (gained[:, 2] == 0.0).all()
        directions += [*gained[pushed, :2] / speed[pushed, None]]
        pushes += pushed
    assert pushes.min() >= 2 and pushes.max() <= 6
    assert np.abs(np.mean(directions, axis=0)).max() < 0.2


def test_the_body_that_is_pushed_can_be_chosen():
    options = {"push_speed": (1.0, 1.0), "push_interval_s": (0.1, 0.1)}
    sims = [Sim(tasks.load("Walker2d", push_body=body, **options), 1) for body in (None, "torso", "foot")]
    for sim in sims:
        sim.reset()
        for _ in range(14):
            sim.step(np.zeros((1, 6)))
    torso, same, foot = (sim.fields.qvel for sim in sims)
    assert np.array_equal(torso, same) and not np.allclose(torso, foot)


def test_a_disturbed_start_keeps_to_the_joints_limits_and_to_their_spread(ball):
    sim = Sim(ball.with_options(initial_pos=0.5, initial_vel=0.3), 1000)
    sim.reset()
    position, speed = sim.fields.qpos[:, 7], sim.fields.qvel[:, 6]
    assert position.min() == -0.2 and position.max() == 0.2 and (np.abs(position) < 0.2).mean() > 0.3
    assert np.abs(speed - 1.0).max() < 0.3 and speed.std() == pytest.approx(0.3 / 3.0**0.5, rel=0.1)
    assert (sim.fields.qpos[:, :7] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).all()


def test_a_start_beyond_a_limit_on_purpose_stays_there(ball):
    class Beyond(Ball):
        def reset(self, draw, f):
            qpos = np.zeros_like(f.qpos)
            qpos[:, 3], qpos[:, 7] = 1.0, 0.4
            return {"qpos": qpos}

    sim = Sim(Beyond(xml_file=ball.xml_file).with_options(initial_pos=0.1), 50)
    sim.reset()
    assert sim.fields.qpos[:, 7].max() == 0.4 and sim.fields.qpos[:, 7].min() < 0.4
