from cspine_assets.nnunet.pace import Pace


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_says_how_far_it_is_and_how_long_it_will_take():
    clock = Clock()
    pace = Pace(100, "exams", clock=clock)
    clock.now = 4.0
    assert pace.step() == "1 of 100 exams, 4.0 s each, about 7 min left"


def test_what_stood_already_says_nothing_of_the_time_to_come():
    clock = Clock()
    pace = Pace(4, "exams", clock=clock)
    assert pace.step(worked=False) == "1 of 4 exams"
    clock.now = 30.0
    assert pace.step() == "2 of 4 exams, 30.0 s each, about 60 s left"


def test_it_speaks_at_the_first_the_last_and_now_and_then():
    clock = Clock()
    pace = Pace(60, "exams", clock=clock)
    lines = []
    for second in range(60):
        clock.now = float(second)
        lines.append(pace.step())
    assert [number for number, line in enumerate(lines) if line] == [0, 10, 20, 30, 40, 50, 59]
    assert lines[-1] == "60 of 60 exams, 1.0 s each"
