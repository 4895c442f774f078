"""The temporary folder of a factory: data, configuration and logs."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


@contextmanager
def scratch_folder(console: Console, *, keep: bool) -> Iterator[Path]:
    """Make the folder; remove it in the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="andon-"))
    try:
        yield folder
    finally:
        if keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
