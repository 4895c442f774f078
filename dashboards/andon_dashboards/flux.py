"""The Flux target: grafana-foundation-sdk ships no builder for the InfluxDB data source, so this is the missing piece."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE_UID = "andon-influxdb"
"""Uid in provisioning/datasources/influxdb.yml."""

DATASOURCE_TYPE = "influxdb"


def datasource() -> DataSourceRef:
    """The reference that panels, targets and variables carry."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


@dataclass(frozen=True, slots=True)
class FluxQuery(variants.Dataquery):
    """A Flux query as Grafana's InfluxDB data source stores it in a panel."""

    ref_id: str
    query: str

    def to_json(self) -> dict[str, object]:
        """The target's JSON, with the data source's reference."""
        return {"refId": self.ref_id, "datasource": datasource(), "query": self.query}


@dataclass(frozen=True, slots=True)
class FluxTarget(builder.Builder[variants.Dataquery]):
    """Builder of one target.

    Args:
        query: Flux text with Grafana's variables in it.
        ref_id: Letter of the target in its panel.
    """

    query: str
    ref_id: str = "A"

    def build(self) -> FluxQuery:
        """The target."""
        return FluxQuery(self.ref_id, self.query)
