"""The records of all the files in a tar archive, as if they were one file.

::

    uniprot_sprot-only2023_01.tar.gz
      LICENSE                   no records: skipped and counted
      uniprot_sprot.dat.gz      records 0 … n-1           "uniprot_sprot.dat.gz: line 1, byte 0"
      uniprot_sprot.fasta.gz    records n …               "uniprot_sprot.fasta.gz: line 1, byte 0"

What a file is, its content says, as everywhere; or whoever reads says which files are wanted, by name, and then these
are read and no others. Files of records are read in the order of the archive. Memory: that of their readers, and a
block of records more, in which what is skipped behind the last record is counted.

UniProt keeps an older release as one archive of several databases. The manifest of such a download says which files of
it are wanted (``members`` in its configuration), and holds for the archive wherever it is read from: as a download's
file or by its own path.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.errors import ArtefactError, InputFormatError
from pipeline.formats.archives import Member, members, piped, renamed
from pipeline.formats.manifest import is_finished, read_manifest
from pipeline.formats.problems import Problems
from pipeline.formats.records import HeaderBlock, RecordBlock

OTHER_FILE = "other-file"
"""What files without records, links and devices are counted as, among the skipped."""

Reader = Callable[[Path, Problems], Iterator[RecordBlock]]
"""Reads a file or a pipe."""
Choose = Callable[[bytes], Reader | None]
"""The reader for a content, by its first bytes decompressed; None for one without records."""

_NAMED_FILES = 5


def read_archived_records(
    path: Path, *, choose: Choose, fallback: Reader, names: Collection[str] = (), problems: Problems | None = None
) -> Iterator[HeaderBlock]:
    """Read the records of the files in a tar archive, plain or compressed, as it streams.

    Args:
        path: A file or a pipe.
        choose: Finds the reader for a content.
        fallback: Reads what has no reader and is wanted by name or damaged, to say what is wrong with it.
        names: Names of the files that are wanted, without folders; none: every file with records.
        problems: What becomes of damaged records; by default the first one raises.

    Yields:
        Blocks of records, in the order of the archive.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The archive is damaged or cut short, holds no file of records or none that is wanted, or such
            a file is damaged.
    """
    problems = problems or Problems()
    skipped: Counter[str] = Counter()
    others: list[str] = []
    held: HeaderBlock | None = None
    num_files = num_records = 0
    for member in members(path):
        reader = _reader_of(member, choose, fallback, names)
        if reader is None:
            skipped[OTHER_FILE] += 1
            others += [member.name] if len(others) < _NAMED_FILES else []
            continue
        num_files += 1
        for block in _read_member(path, member, reader, problems):
            if held is not None:
                yield held
            held = replace(block, first_record=num_records)
            num_records += block.num_records
    if not num_files:
        raise _nothing_to_read(path, names, others)
    if held is None:
        problems.pass_over(skipped)
    else:
        yield replace(held, skipped=Counter(held.skipped) + skipped)


def wanted_members(path: Path) -> tuple[str, ...]:
    """Names of the files that are wanted of an archive, by the manifest of the download it lies in; none without one.

    Args:
        path: The archive.
    """
    if not is_finished(path.parent):
        return ()
    try:
        manifest = read_manifest(path.parent, kind="download")
    except ArtefactError:
        return ()  # somebody else's manifest.json, which says nothing of the archive
    is_of_it = path.name in {file.path for file in manifest.files}
    return tuple(manifest.configuration.get("members", ())) if is_of_it else ()


def _reader_of(member: Member, choose: Choose, fallback: Reader, names: Collection[str]) -> Reader | None:
    if member.content is None or (names and member.base_name not in names):
        return None
    if member.head is None or member.is_sparse:
        return fallback
    return choose(member.head) or (fallback if names else None)


def _read_member(path: Path, member: Member, reader: Reader, problems: Problems) -> Iterator[HeaderBlock]:
    label = f"{path}: {member.name}"
    if member.is_sparse:
        # Its holes would be read as zero bytes, and there may be any number of them.
        hint = "make the archive again without --sparse, or unpack it and name the files"
        raise InputFormatError(f"{label}: expected a file that is stored whole, found one with holes", hint=hint)
    assert member.content is not None, "only files have a reader"
    place = member.name.replace("{", "{{").replace("}", "}}")
    with piped(member.content, label) as pipe:
        for block in reader(pipe, _MemberProblems(problems, pipe, label)):
            assert isinstance(block, HeaderBlock), "what is read from a pipe has title lines"
            yield replace(block, place_format=f"{place}: {block.place_format}")


class _MemberProblems(Problems):
    """The problems of one file in an archive, reported as the archive's."""

    def __init__(self, archive: Problems, pipe: Path, label: str) -> None:
        super().__init__(archive.on_error)
        self._archive = archive
        self._pipe = pipe
        self._label = label

    def report(self, reason: str, error: InputFormatError) -> None:
        """Count a damaged record, here and for the archive."""
        super().report(reason, error)
        self._archive.report(reason, renamed(error, self._pipe, self._label))

    def pass_over(self, skipped: Mapping[str, int], num_comment_lines: int = 0) -> None:
        """Count what was skipped, for the archive."""
        self._archive.pass_over(skipped, num_comment_lines)


def _nothing_to_read(path: Path, names: Collection[str], others: list[str]) -> InputFormatError:
    wanted = f"one of the files {', '.join(sorted(names))}" if names else "files of records"
    found = ", ".join(others) or "nothing"
    hint = "FASTA, UniProt's .dat and XML, UniRef's XML and Stockholm are read from archives; unpack others"
    return InputFormatError(f"{path}: expected {wanted} in the archive, found {found}", hint=hint)
