"""Progress bars are drawn unless the caller or the environment switches them off."""

import pytest

from acoustic_kit.api.progress import SWITCH, progress


@pytest.mark.parametrize(
    ("wanted", "switch", "drawn"),
    [(True, None, True), (True, "1", True), (True, "0", False), (True, " Off", False), (False, None, False)],
)
def test_progress_can_be_switched_off(
    wanted: bool,
    switch: str | None,
    drawn: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(SWITCH, switch)
    with progress(wanted) as bar:
        bar("clips", 1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("clips" in err) == drawn
