"""Steps of mmseqs in a folder: each is done once, and whole when its ``.dbtype`` is.

A step that was killed leaves files without a ``.dbtype`` of four bytes. They are removed before mmseqs goes on, which
takes a step for finished when there is a ``.dbtype``, be it empty.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from pipeline.engines.supervised import run_supervised

LOG_NAME = "mmseqs.log"

_DBTYPE_BYTES = 4


class Steps:
    """A folder in which mmseqs makes databases.

    Args:
        program: mmseqs.
        work: The folder.
        ours: Names of files in it that mmseqs does not make.
    """

    def __init__(self, program: Path, work: Path, ours: Collection[str]) -> None:
        self.work = work
        self._program = program
        self._ours = {*ours, LOG_NAME}

    def run(self, *arguments: str) -> None:
        """Run one module of mmseqs.

        Raises:
            ExecutionError: It failed or was killed.
        """
        run_supervised([str(self._program), *arguments, "-v", "3"], folder=self.work, log=self.work / LOG_NAME)

    def is_finished(self, *names: str) -> bool:
        """Whether databases are whole."""
        return all(_is_finished(self.work / name) for name in names)

    def make_database(self, fasta: str, name: str) -> None:
        """A database of the sequences of a FASTA file, two lines a record: no shuffling, and no copy of the residues.

        These are the flags of easy-linclust, too, so that clusters are the same.
        """
        flags = ["--dbtype", "1", "--createdb-mode", "1", "--shuffle", "0", "--write-lookup", "0"]
        self.run("createdb", fasta, name, *flags)

    def remove_all(self) -> None:
        """Remove everything that mmseqs made."""
        for path in self.work.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in self._ours:
                path.unlink()

    def remove_unfinished(self) -> None:
        """Remove the files of steps that were not finished."""
        for path in sorted(self.work.rglob("*")):
            is_ours = path.parent == self.work and path.name in self._ours
            if is_ours or (path.is_dir() and not path.is_symlink()) or path.name == "latest":
                continue
            stem = path.name.removesuffix(".dbtype")
            bases = {stem, stem.removesuffix(".index"), stem.rpartition(".")[0]}
            if not any(base and _has_type(path.with_name(base)) for base in bases):
                path.unlink()


def _is_finished(database: Path) -> bool:
    return _has_type(database) and (database.exists() or Path(f"{database}.0").exists())


def _has_type(database: Path) -> bool:
    # Killed between opening and writing it, mmseqs leaves an empty file.
    marker = Path(f"{database}.dbtype")
    return marker.exists() and marker.stat().st_size == _DBTYPE_BYTES
