"""How far work is: shown under a label, without one after some seconds, never where it is switched off."""

import pytest

from irob.core import progress


class Clock:
    """A stopped clock, which work moves on."""

    now = 0.0

    def monotonic(self):
        return self.now

    def work(self, each):
        for i in range(20):
            yield i
            self.now += each


def lines(monkeypatch, capsys, each, label="", switch="1"):
    clock = Clock()
    monkeypatch.setenv(progress.SWITCH, switch)
    monkeypatch.setattr(progress, "time", clock)
    assert list(progress.progress(clock.work(each), total=20, label=label)) == list(range(20))
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("each", "label", "switch", "first", "count"), [
    (0.1, "", "1", None, 0),  # two seconds in all
    (2.0, "", "1", "irob: 3/20, about 34 s left", 1),
    (9.0, "", "1", "irob: 1/20, about 171 s left", 3),
    (2.0, "work", "1", None, 0),  # less than a minute
    (9.0, "work", "1", "work: 7/20, about 117 s left", 2),
    (9.0, "work", "0", None, 0), (9.0, "", "0", None, 0),
])
def test_lines_off_a_terminal(monkeypatch, capsys, each, label, switch, first, count):
    said = lines(monkeypatch, capsys, each, label, switch)
    assert len(said) == count and (said[0] if said else None) == first, said
