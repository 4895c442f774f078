"""`andon board renode up` and `down`: one board in a folder, and only a process that is still the noted one is asked to end."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from andon_workbench.rungs.cli import _started, app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """A folder in which a board runs, as far as can be told: this test's process is its."""
    (tmp_path / "up.json").write_text(json.dumps({"pid": os.getpid(), "started": _started(os.getpid())}))
    return tmp_path


def said(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["renode", *words], env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, result.output


def test_second_board_does_not_take_the_first_ones_folder(noted: Path) -> None:
    code, text = said("up", "--folder", str(noted))
    assert code == 2
    assert f"a board runs in {noted} already (process {os.getpid()})" in text
    assert (noted / "up.json").is_file()


def test_process_that_only_has_the_same_number_is_left_alone(noted: Path) -> None:
    """The number of a process is given again; its start is not."""
    (noted / "up.json").write_text(json.dumps({"pid": os.getpid(), "started": "1"}))
    code, text = said("down", "--folder", str(noted))
    assert code == 2
    assert "has ended already" in text
    assert not (noted / "up.json").exists()
    assert "no board runs in" in said("down", "--folder", str(noted))[1]
