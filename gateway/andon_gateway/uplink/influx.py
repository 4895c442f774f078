"""Writes line protocol to an InfluxDB v2 write endpoint through influxdb-client."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from andon_gateway.uplink.uplink import WriteAnswer, parse_retry_after

# influxdb-client declares the class as the parameter's type but means its constants, which are plain strings.
_MILLISECONDS: Any = WritePrecision.MS


class InfluxWriter:
    """One keep-alive connection, gzip, precision ms, no retries of its own: the uplink decides about those.

    Args:
        url: Base address of the cloud (or of an InfluxDB).
        token: Sent as `Authorization: Token ...`.
        org: Organization.
        bucket: Bucket.
        timeout_s: For connecting and for the answer.
    """

    def __init__(self, url: str, token: str, org: str, bucket: str, timeout_s: float) -> None:
        self._client = InfluxDBClient(url=url, token=token, org=org, timeout=round(timeout_s * 1000), retries=False)
        self._service: Any = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]  # untyped in influxdb-client
        self._org = org
        self._bucket = bucket

    def write(self, lines: list[str]) -> WriteAnswer:
        """Send lines in one request and translate the answer; a lost connection is status 0."""
        try:
            # Compressed here: the library would use gzip's level 9, which takes several times the CPU for a few percent.
            body = gzip.compress("\n".join(lines).encode(), compresslevel=1, mtime=0)
            self._service.post_write(
                self._org,
                self._bucket,
                body,
                precision=_MILLISECONDS,
                content_encoding="gzip",
                content_type="text/plain; charset=utf-8",
            )
        except ApiException as error:
            retry_after = error.headers.get("Retry-After") if error.headers else None
            retry_after_s = parse_retry_after(retry_after, time.time())
            said = _said(error)
            message = str(error.reason)[:200] if said is None else said
            return WriteAnswer(int(error.status or 0), message, retry_after_s, judged=said is not None)
        except (HTTPError, OSError) as error:
            return WriteAnswer(0, str(error)[:200])
        # influxdb-client takes any 2xx for a success. Only the write endpoint's own 204 means "stored": a proxy's or a
        # captive portal's 200 must not empty the spool.
        return WriteAnswer(int(self._client.api_client.last_response.status), "expected 204 from a v2 write endpoint")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()  # type: ignore[no-untyped-call]  # untyped in influxdb-client


def _said(error: ApiException) -> str | None:
    """The reason in an InfluxDB's error JSON, `{"code", "message"}`; None: somebody else has answered, such as a proxy on the way.

    Its 400 ("The plain HTTP request was sent to HTTPS port") is about the request, not about a line, and must not empty the spool.
    """
    try:
        body = json.loads(error.body)
        return f"{body['message']}"[:500] if body["code"] else None
    except (TypeError, ValueError, KeyError):
        return None
