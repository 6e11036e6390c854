"""Pictures of simulations, without a screen."""

from __future__ import annotations

import mujoco
import numpy as np

from roborl.errors import RunError
from roborl.sim import Sim
from roborl.task.contract import Task

RENDER_SIZE = (480, 360)
"""Width and height of pictures, in pixels."""


class Camera:
    """Renders simulations of a Sim without a screen, through the task's camera."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        width, height = RENDER_SIZE
        model = sim.batch.get_model(0)
        model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
        model.vis.global_.offheight = max(height, model.vis.global_.offheight)
        # MuJoCo's 4096 take half of a picture's time where no GPU renders, and look no better at this size
        model.vis.quality.shadowsize = min(1024, model.vis.quality.shadowsize)
        self._model = model
        self._data = mujoco.MjData(model)
        view = self._view = self._make_view(sim.task)
        if not isinstance(view, str) and view.type == mujoco.mjtCamera.mjCAMERA_TRACKING:
            _make_floors_endless(model)
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except Exception as error:  # the GL backends raise errors of many types
            raise RunError(
                f"MuJoCo cannot render here ({type(error).__name__}: {error}); on a machine without a screen set "
                "MUJOCO_GL=egl (Debian: libegl1 libegl-mesa0 libgl1-mesa-dri) or MUJOCO_GL=osmesa (libosmesa6) "
                "before starting, and import roborl before mujoco; `roborl doctor` says what is there"
            ) from error
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False  # a white line where floors meet the sky

    def _make_view(self, task: Task) -> mujoco.MjvCamera | str:
        if isinstance(task.camera, str):
            return task.camera
        view = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(self._model, view)
        view.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        view.trackbodyid = 1
        for name, value in task.camera.items():
            setattr(view, name, value)
        if view.trackbodyid < 0:  # as Gymnasium says that the camera stays where it is
            view.type = mujoco.mjtCamera.mjCAMERA_FREE
        return view

    def picture(self, index: int) -> np.ndarray:
        """Return a picture of a simulation, uint8 (height, width, 3)."""
        self._sim.batch.get_data(index, self._data)
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._view)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def _make_floors_endless(model: mujoco.MjModel) -> None:
    """Let floors reach the horizon in pictures, with the pattern that they have: some robots outrun 40 m.

    A plane of width 0 is drawn so, and its pattern repeats by the metre instead of by the half-width. Contacts know of
    no width.
    """
    repeats = model.mat_texrepeat.copy()  # floors may share a material
    for floor in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        half_width, material = model.geom_size[floor, :2], model.geom_matid[floor]
        if (half_width > 0.0).all():
            if material >= 0 and not model.mat_texuniform[material]:
                model.mat_texrepeat[material] = repeats[material] / half_width
            half_width[:] = 0.0
