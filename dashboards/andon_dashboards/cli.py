"""`andon-dashboards`: write the dashboards' JSON, or say whether it is current."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from andon_dashboards.overview import plant_overview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from grafana_foundation_sdk.models.dashboard import Dashboard

GENERATED = Path(__file__).resolve().parent.parent / "generated"

DASHBOARDS: dict[str, Callable[[], Dashboard]] = {"plant-overview.json": plant_overview}


def render(dashboard: Dashboard) -> str:
    """The dashboard's JSON: the same text for the same dashboard, whatever the machine."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def build(folder: Path) -> list[Path]:
    """Write every dashboard into `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, make in DASHBOARDS.items():
        file = folder / name
        file.write_text(render(make()), encoding="utf-8")
        files.append(file)
    return files


def stale(folder: Path) -> list[Path]:
    """The files in `folder` that are missing or differ from what `build` would write."""
    found = {name: folder / name for name in DASHBOARDS}
    return [
        file
        for name, file in found.items()
        if not file.is_file() or file.read_text(encoding="utf-8") != render(DASHBOARDS[name]())
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="andon-dashboards", description="Andon's Grafana dashboards as code.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="write the dashboards' JSON")
    building.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    building.add_argument("--into", type=Path, default=GENERATED, metavar="DIR", help="folder of the JSON files")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            for file in build(options.into):
                sys.stdout.write(f"{file}\n")
            return 0
        outdated = stale(options.into)
    except OSError as error:
        sys.stderr.write(f"andon-dashboards: {error.filename}: {error.strerror}; give a writable folder with --into\n")
        return 1
    for file in outdated:
        sys.stderr.write(f"andon-dashboards: {file} is not current; run: make dashboards\n")
    return 1 if outdated else 0
