"""The gateway's `fw` folder: signed bundles fetched from the cloud, whole and checked, for nodes to fetch in turn."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from andon_gateway.orders.runner import OrderUnusable

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from andon_gateway.updates.orders import FirmwareUpdate

log = logging.getLogger(__name__)


class BundleFolder:
    """Files by content.

    Args:
        folder: What `/fw` serves.
        client: HTTP client with base address and token.
        gateway: This gateway's id.
    """

    def __init__(self, folder: Path, client: httpx.AsyncClient, gateway: str) -> None:
        self._folder = folder
        self._client = client
        self._base = f"/api/v1/gateways/{gateway}/firmware"

    async def provide(self, update: FirmwareUpdate) -> None:
        """Have the bundle in the folder, fetched unless the right one is there.

        The file appears under its name only when all of it is on disk and its SHA-256 is the ordered one.

        Raises:
            OrderUnusable: It never will be.
            httpx.HTTPError: The cloud does not answer now.
            OSError: The disk takes no data now.
        """
        path = self._folder / update.file_name
        if await asyncio.to_thread(_digest, path) == update.sha256:
            return
        partial = path.with_name(f"{path.name}.part")
        try:
            await self._fetch(update, partial)
            await asyncio.to_thread(_put_in_place, partial, path)
        finally:
            partial.unlink(missing_ok=True)
        log.info("bundle %s is here: bytes=%d", path.name, update.size)

    async def _fetch(self, update: FirmwareUpdate, partial: Path) -> None:
        digest, size = hashlib.sha256(), 0
        async with self._client.stream("GET", f"{self._base}/{update.sha256}") as response:
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise OrderUnusable("the cloud has no such bundle any more")
            response.raise_for_status()
            if response.headers.get("etag") != f'"{update.sha256}"':
                raise OrderUnusable("the cloud offers another bundle than it ordered (ETag)")
            with partial.open("wb") as file:
                async for piece in response.aiter_bytes():
                    size += len(piece)
                    if size > update.size:
                        break
                    digest.update(piece)
                    file.write(piece)
        if digest.hexdigest() != update.sha256 or size != update.size:
            raise OrderUnusable("the bundle that the cloud sent is not the one that it ordered (SHA-256)")

    async def forget(self, update: FirmwareUpdate) -> None:
        """Remove a bundle that no update needs any more."""
        for name in (update.file_name, f"{update.file_name}.part"):
            await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename only what is on disk, and have the rename there too."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
