"""Which frames are kept, and which episode is the best."""

from __future__ import annotations

from grandstand.clock import ManualClock
from grandstand.live.gallery import MOST_SESSIONS, Gallery
from grandstand.model.frames import FRAMES_PER_SECOND, Frame, media_type_of


def picture(episode: int | None, value: float | None, name: str = "") -> Frame:
    image = name or f"{episode} {value}"
    return Frame(image.encode(), "image/jpeg", episode, None, value, ManualClock().now())


class Show:
    """Frames offered at a pace that is none too fast."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.gallery = Gallery(self.clock)

    def offer(self, *frames: tuple[int | None, float | None]) -> None:
        for episode, value in frames:
            self.clock.wait(0.2)
            assert self.gallery.offer("run", picture(episode, value))

    @property
    def best(self) -> bytes | None:
        found = self.gallery.best("run")
        return found.image if found is not None else None


def test_the_newest_counts_and_nothing_else_is_kept() -> None:
    show = Show()
    assert show.gallery.newest("run") is None
    show.offer((1, 1.0), (1, 2.0))
    newest = show.gallery.newest("run")
    assert newest is not None
    assert newest.image == b"1 2.0"
    assert show.gallery.newest("other") is None


def test_the_best_is_the_last_of_a_finished_episode() -> None:
    show = Show()
    show.offer((1, 1.0), (1, 5.0))
    assert show.best is None
    show.offer((2, 1.0))
    assert show.best == b"1 5.0"
    show.offer((2, 3.0), (3, 9.0))
    assert show.best == b"1 5.0"
    show.offer((4, 0.0))
    assert show.best == b"3 9.0"


def test_returns_below_zero_are_judged_at_their_end() -> None:
    show = Show()
    show.offer((1, -5.0), (1, -200.0), (2, -1.0), (2, -300.0), (3, 0.0))
    assert show.best == b"1 -200.0"


def test_an_episode_that_is_begun_again_was_not_finished() -> None:
    show = Show()
    show.offer((1, 1.0), (2, 50.0))  # and then back to a checkpoint
    show.offer((2, 2.0), (3, 0.0))
    assert show.best == b"2 2.0"
    show.offer((7, 80.0), (5, 0.0), (6, 0.0))
    assert show.best == b"2 2.0"


def test_without_an_episode_or_a_return_there_is_no_best() -> None:
    show = Show()
    show.offer((None, 1.0), (None, 2.0), (1, None), (2, None), (None, None), (3, 1.0))
    assert show.best is None


def test_what_is_dropped_still_tells_how_the_episode_went() -> None:
    show = Show()
    for _ in range(FRAMES_PER_SECOND):
        assert show.gallery.offer("run", picture(1, -1.0))
    assert not show.gallery.offer("run", picture(1, -90.0, "dropped"))
    show.clock.wait(1.0)
    show.offer((2, -50.0), (3, 0.0))
    assert show.best == b"2 -50.0"


def test_ten_within_any_second() -> None:
    show = Show()
    for i in range(FRAMES_PER_SECOND):
        assert show.gallery.offer("run", picture(1, None, str(i)))
        show.clock.wait(0.05)
    assert not show.gallery.offer("run", picture(1, None, "one too many"))
    assert show.gallery.offer("other", picture(1, None))
    newest = show.gallery.newest("run")
    assert newest is not None
    assert newest.image == b"9"
    show.clock.wait(0.5)
    assert show.gallery.offer("run", picture(1, None))
    assert not show.gallery.offer("run", picture(1, None))


def test_the_sessions_that_showed_one_last_are_kept() -> None:
    show = Show()
    for i in range(MOST_SESSIONS):
        show.gallery.offer(f"run {i}", picture(1, None))
    show.gallery.offer("run 0", picture(2, None))
    show.gallery.offer("one more", picture(1, None))
    assert show.gallery.newest("run 0") is not None
    assert show.gallery.newest("run 1") is None
    show.gallery.forget("run 0")
    show.gallery.forget("never there")
    assert show.gallery.newest("run 0") is None


def test_images_are_known_by_their_first_bytes() -> None:
    assert media_type_of(b"\xff\xd8\xff\xe0....JFIF") == "image/jpeg"
    assert media_type_of(b"RIFF\x00\x00\x00\x00WEBPVP8 ") == "image/webp"
    for other in (b"", b"\xff\xd8", b"RIFF\x00\x00\x00\x00WAVE", b"\x89PNG\r\n", b"<svg"):
        assert media_type_of(other) is None
