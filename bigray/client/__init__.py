"""Clients of a bigray service, blocking and asynchronous. Imports schemas, errors and httpx only."""

from __future__ import annotations

from bigray.client.aclient import AsyncClient
from bigray.client.client import Client
from bigray.client.gallery import Gallery

__all__ = ["AsyncClient", "Client", "Gallery"]
