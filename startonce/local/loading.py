"""Loads the local cloud quickly: moto is most of what happens before the first answer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.loaders

if TYPE_CHECKING:
    from startonce.local.server import LocalCloud


def local_cloud() -> type[LocalCloud]:
    """The class, with moto and all that it needs."""
    with _no_garbage_collection(), _each_file_read_once():
        from startonce.local.server import LocalCloud
    return LocalCloud


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What is loaded stays: to look through it again and again was a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _each_file_read_once() -> Iterator[None]:
    """Moto makes a session for each list of regions, and each reads botocore's largest file."""
    original = botocore.loaders.JSONFileLoader.load_file
    read: dict[str, Any] = {}

    def load_file(loader: Any, path: str) -> Any:
        if path not in read:
            read[path] = original(loader, path)
        return read[path]

    botocore.loaders.JSONFileLoader.load_file = load_file
    try:
        yield
    finally:
        botocore.loaders.JSONFileLoader.load_file = original
