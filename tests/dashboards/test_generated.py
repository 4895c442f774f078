"""The committed JSON: current, and well-formed by the rules that Grafana does not check until a person looks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from andon_dashboards import cli, flux, overview, queries

ROOM = Path(__file__).resolve().parents[2] / "dashboards"
FILE = ROOM / "generated" / "plant-overview.json"
TEMPLATE = re.compile(r"\$\{(\w+)(?::\w+)?\}")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [target for panel in panels for target in panel["targets"]]


def test_committed_json_is_what_the_code_generates() -> None:
    assert cli.stale(cli.GENERATED) == [], "run: make dashboards"


def test_generating_twice_gives_the_same_bytes() -> None:
    assert cli.render(overview.plant_overview()) == cli.render(overview.plant_overview())


def test_identity_and_refresh(dashboard: dict[str, Any]) -> None:
    assert dashboard["uid"] == "andon-plant-overview"
    assert dashboard["title"] == "Plant overview"
    assert dashboard["schemaVersion"] >= 36, "older schemas are migrated by guesswork"
    assert dashboard.get("id") is None, "an id would clash with another dashboard's in provisioning"


def test_panel_ids_are_unique(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_grid_has_no_overlap_and_no_hole(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    width, height = max(x for x, _ in taken) + 1, max(y for _, y in taken) + 1
    assert width == 24
    assert len(taken) == width * height, "a hole in the grid"


def test_every_panel_and_target_names_the_provisioned_datasource(panels: list[dict[str, Any]]) -> None:
    for holder in [*panels, *targets(panels)]:
        assert holder["datasource"] == {"type": "influxdb", "uid": flux.DATASOURCE_UID}


def test_every_panel_explains_itself(panels: list[dict[str, Any]]) -> None:
    titles = [panel["title"] for panel in panels]
    assert len(titles) == len(set(titles))
    for panel in panels:
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["targets"], panel["title"]


def test_reference_ids_are_unique_in_each_panel(panels: list[dict[str, Any]]) -> None:
    for panel in panels:
        ids = [target["refId"] for target in panel["targets"]]
        assert len(ids) == len(set(ids)), panel["title"]


def test_every_variable_used_exists(dashboard: dict[str, Any], panels: list[dict[str, Any]]) -> None:
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = {name for target in targets(panels) for name in TEMPLATE.findall(target["query"])}
    assert used == known == set(queries.HIERARCHY)


def test_variables_use_only_those_above_them(dashboard: dict[str, Any]) -> None:
    above: set[str] = set()
    for variable in dashboard["templating"]["list"]:
        assert set(TEMPLATE.findall(variable["query"])) == above
        assert variable["datasource"]["uid"] == flux.DATASOURCE_UID
        assert (variable["includeAll"], variable["multi"], variable["allValue"]) == (True, True, ".*")
        above.add(variable["name"])


def test_every_query_is_bounded_and_follows_the_choice(panels: list[dict[str, Any]]) -> None:
    for target in targets(panels):
        text = target["query"]
        reads = text.count("from(bucket: v.defaultBucket)")
        assert reads > 0
        assert text.count("|> range(start: ") == reads, "an unbounded read"
        for level in queries.HIERARCHY:
            assert text.count(f"r.{level} =~ /^${{{level}:regex}}$/") == reads


def test_overrides_name_columns_that_the_query_makes(panels: list[dict[str, Any]]) -> None:
    for panel in panels:
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["id"] == "byName"
            assert override["matcher"]["options"] in panel["targets"][0]["query"], panel["title"]


def test_thresholds_start_open_and_rise(panels: list[dict[str, Any]]) -> None:
    checked = 0
    for panel in panels:
        config = panel["fieldConfig"]
        found = [config["defaults"].get("thresholds")]
        found += [p["value"] for o in config["overrides"] for p in o["properties"] if p["id"] == "thresholds"]
        for thresholds in filter(None, found):
            values = [step["value"] for step in thresholds["steps"]]
            assert values[0] is None
            assert values[1:] == sorted(values[1:])
            checked += 1
    assert checked > 5


def test_links_lead_to_this_dashboard(dashboard: dict[str, Any]) -> None:
    links = re.findall(r'"url": "(/d/[^"]*)"', json.dumps(dashboard))
    assert links
    assert all(link.startswith(f"/d/{dashboard['uid']}?") for link in links)


def test_provisioning_matches_the_dashboard() -> None:
    loaded = yaml.safe_load((ROOM / "provisioning/datasources/influxdb.yml").read_text(encoding="utf-8"))
    (source,) = loaded["datasources"]
    assert (source["uid"], source["type"]) == (flux.DATASOURCE_UID, flux.DATASOURCE_TYPE)
    assert source["jsonData"]["version"] == "Flux"
    assert re.fullmatch(r"\$[A-Z_]+", source["secureJsonData"]["token"]), "the token comes from the environment"
    provider = yaml.safe_load((ROOM / "provisioning/dashboards/andon.yml").read_text(encoding="utf-8"))["providers"][0]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False


def test_check_fails_on_a_stale_or_missing_file_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "--check", "--into", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "make dashboards" in capsys.readouterr().err
    assert cli.main(["build", "--into", str(tmp_path)]) == 0
    assert cli.main(["build", "--check", "--into", str(tmp_path)]) == 0
    (tmp_path / "plant-overview.json").write_text("{}", encoding="utf-8")
    assert cli.main(["build", "--check", "--into", str(tmp_path)]) == 1


def test_an_unwritable_folder_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert cli.main(["build", "--into", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--into" in error


def test_hierarchy_level_below_all_is_unfiltered() -> None:
    assert "predicate: (r) => true" in queries.variable_values("site")
