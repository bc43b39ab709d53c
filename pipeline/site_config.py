"""The file with the settings of a site: what ``--site`` names."""

import tomllib
from pathlib import Path

from pipeline.config import checked
from pipeline.engines.job_queue import JobQueue
from pipeline.errors import ConfigurationError


def read_site(path: Path) -> JobQueue:
    """The settings in a TOML file.

    Raises:
        ConfigurationError: The file is missing, is no TOML, or says something that jobs have no place for.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: expected TOML, found {error}") from error
    site: JobQueue = checked(JobQueue, document, where=str(path))
    return site
