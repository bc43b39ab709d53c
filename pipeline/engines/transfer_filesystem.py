"""Files that fsspec opens: s3://, gs://, file:// and local paths.

Object stores give ranges without being asked twice; whether the file stayed the same is told by fsspec's key of its
state (size and ETag, or time of change), asked before the first byte of a range and after the last.
"""

from collections.abc import Callable, Generator
from typing import Any

import fsspec

from pipeline.engines.origin import FileChangedError, RemoteFacts, without_secrets
from pipeline.engines.patience import ConnectionLostError
from pipeline.errors import MissingExtraError, TransferError

BLOCK_BYTES = 8 << 20
"""What is asked for at a time: each block is a request."""


class FilesystemOrigin:
    """A file that fsspec opens: s3://, gs://, file:// or a local path."""

    def __init__(self, url: str, *, timeout: float) -> None:
        del timeout  # the libraries of the object stores have their own, and retry by themselves first
        self.where = without_secrets(url)
        try:
            self._filesystem, self._path = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(f"{self.where}: {error}", hint="pip install 'protein-pipeline[cloud]'") from error

    def facts(self) -> RemoteFacts:
        """Size, and fsspec's key of the file's state."""
        self._filesystem.invalidate_cache()
        info = self._ask(self._filesystem.info, self._path)
        if info["type"] != "file" or info["size"] is None:
            raise TransferError(f"{self.where}: expected a file, found {info['type']}")
        key = str(self._ask(self._filesystem.ukey, self._path))
        return RemoteFacts(num_bytes=info["size"], etag=key, takes_ranges=True)

    def blocks(self, facts: RemoteFacts, start: int, end: int | None) -> Generator[bytes]:
        """The bytes of a range, in blocks."""
        last = facts.num_bytes if end is None else end
        assert last is not None, "every file system knows the size of a file"
        while start < last:
            stop = min(start + BLOCK_BYTES, last)
            block = self._ask(self._filesystem.cat_file, self._path, start=start, end=stop)
            start += len(block)
            yield block
            if start < stop:
                break
        if self.facts().contradicts(facts):
            raise FileChangedError(f"{self.where}: the file changed while it was read")
        if start < last:
            raise ConnectionLostError(f"the file ended {last - start:,} bytes early")

    def _ask(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except FileNotFoundError as error:
            raise TransferError(f"{self.where}: there is no such file", hint="check the path") from error
        except PermissionError as error:
            raise TransferError(
                f"{self.where}: may not be read", hint="check its permissions or credentials"
            ) from error
        except Exception as error:  # every file system has exceptions of its own
            if "Credential" in type(error).__name__:
                raise TransferError(f"{self.where}: {error}", hint="set up the credentials of the store") from error
            raise ConnectionLostError(f"{type(error).__name__}: {error}") from error
