from __future__ import annotations

import json

from roborl import tasks
from roborl.run.tables import describe_task, list_tasks, render_task, table


def test_every_task_is_listed_with_what_it_is() -> None:
    rows = list_tasks()
    assert [row["task"] for row in rows] == tasks.names()
    assert all(row["summary"] and row["episode_steps"] > 0 and row["control_dt"] > 0 for row in rows)


def test_a_tasks_description_is_what_its_code_says() -> None:
    d = json.loads(json.dumps(describe_task(tasks.load("CartpoleTrack"))))
    assert (d["control_dt"], d["episode_steps"], d["terminates"], d["has_success"]) == (0.01, 1000, True, True)
    assert d["options"] == {"command_range_m": 1.0, "command_period_s": [2.0, 4.0], "xml_file": None}
    assert d["randomization"] == {} and d["levels"] == 0 and d["licence"] == "MIT"
    assert d["reward_terms"] == ["on_command", "upright"]
    assert d["parameters"]["pole_mass"] == {"kind": "BodyMass", "unit": "kg", "nominal": [0.1]}
    policy, critic = d["observations"]["policy"], d["observations"]["critic"]
    assert [term["name"] for term in critic] == [*(term["name"] for term in policy), "pole_mass"]
    assert (policy[0]["start"], policy[0]["stop"], policy[0]["history"]) == (0, 3, 3)
    assert critic[-1]["on_hardware"] is False


def test_the_text_shows_every_term_with_its_place_unit_and_whether_a_robot_has_it() -> None:
    lines = render_task(describe_task(tasks.load("CartpoleTrack"))).splitlines()
    assert lines[0].startswith("CartpoleTrack: ")
    assert "control every 0.01 s (100 Hz), physics every 0.01 s, episodes of 1000 steps, may end before" in lines
    assert "reward = on_command + upright" in lines
    assert "drawn for each episode: pole_mass (nominal 0.1 kg)" in lines
    mass = next(line for line in lines if "pole_mass" in line and "drawn" not in line).split()
    assert mass[1] == "pole_mass" and mass[-2:] == ["kg", "no"]
    command = next(line for line in lines if line.split()[1:2] == ["command"]).split()
    assert command[1:] == ["command", "command", "m", "yes"]


def test_what_a_task_is_given_by_its_options_is_shown() -> None:
    d = describe_task(tasks.load("Go1VelocityRough", mass=(0.5, 1.5), sensor_bias={"gyro": 0.1}))
    assert d["randomization"]["mass"] == (0.5, 1.5) and d["levels"] == 6
    assert d["reward_weights"].keys() <= set(d["reward_terms"])
    text = render_task(d)
    assert "track_lin_vel (2)" in text and "levels of difficulty: 6" in text and "mass=(0.5, 1.5)" in text
    gyro = next(line for line in text.splitlines() if line.split()[1:2] == ["gyro"]).split()
    assert gyro[-5:] == ["rad/s", "imu", "0.115", "0.1", "yes"]


def test_every_task_can_be_shown() -> None:
    for name in tasks.names():
        description = describe_task(tasks.load(name))
        assert json.dumps(description, allow_nan=False)
        assert "observation group 'policy'" in render_task(description)


def test_a_tables_columns_are_aligned_and_empty_ones_left_out() -> None:
    assert table(["a", "empty", "long"], [["1", "", "x"], ["333", "", ""]]) == ["a    long", "1    x", "333"]
