"""Frames of an environment at play, for those who look right now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from grandstand.client.callbacks.sample import Sample
from grandstand.client.session import Session
from grandstand.insight.picture import jpeg
from grandstand.model.frames import FRAMES_PER_SECOND

SHARE = 0.05
"""Of the training's time that pictures may take."""


class Camera(Sample):
    """Pictures of one environment, now and then; see `Sample`.

    Args:
        render: gives the picture, (height, width, 3) of bytes; None for no frames at all.
        hz: frames a second at most; a session takes `FRAMES_PER_SECOND`.
        mode: the environment's render mode.
    """

    def __init__(
        self, render: Callable[[], Any] | None = None, hz: float = 0.0, mode: str | None = None
    ) -> None:
        most = min(hz, FRAMES_PER_SECOND) if render is not None else 0.0
        super().__init__("frames", most, share=SHARE)
        self._render = render
        self._mode = mode

    def show(self, session: Session, *, episode: int, step: int, ret: float) -> None:
        """Take a picture and send it; within ``with camera:``, as it may fail.

        Args:
            session: where to.
            episode: the one it is of.
            step: steps so far.
            ret: the episode's return so far.

        Raises:
            ImportError: Pillow is not installed (``pip install 'grandstand[sb3]'``).
            TypeError, ValueError: the environment gave no picture.
        """
        if self._render is None:
            return
        if self._mode != "rgb_array":
            raise ValueError('the environment draws none; make it with render_mode="rgb_array"')
        picture = self._render()
        if picture is None:
            raise ValueError("the environment drew nothing")
        image, _, _ = jpeg(np.asarray(picture))
        if image:
            session.frame(image, episode=episode, step=step, value=ret)
