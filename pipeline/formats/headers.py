"""FASTA header lines to columns: accession, source, taxon, cluster, description.

A header is the text after ``>``. Blanks around it are dropped, the first word is the id, and the rest is the
description, kept as it stands. The form of the id says which database wrote the header, and so where accession and
taxon are (the forms are those of the publishers' own files; UniProt's are at https://www.uniprot.org/help/fasta-headers):

::

    UniRef90_A0A4U1FNC5/143-271 [subseq from] Hemoglobin n=1 Tax=Monodon monoceros TaxID=40151 RepID=A0A4U1FNC5_MONMO
    └─ cluster ───────┘                                                            └─ taxon ─┘
    └─ accession ─────────────┘ └─ description ─────────────────────────────────────────────────────────────────────┘

    sp|P13970-2|SRNB_ECOLI Isoform srnB' of Protein SrnB OS=Escherichia coli (strain K12) OX=83333 GN=srnB
       └─ acc. ┘           └─ description ────────────────────────────────────────────── └─ taxon ┘ ──────┘

=========================================  =================  =============  ============================
first word                                 source             accession      taxon
=========================================  =================  =============  ============================
``sp|P13445|RPOS_ECOLI``, ``tr|…|…``       swissprot, trembl  middle field   digits after the last ``OX=``
``UniRef100_…``, ``UniRef90_…``, …         uniref100, …       the whole id   ``TaxID=`` of the tail
``UPI`` and 10 hexadecimal digits          uniparc            the whole id
``MGYP`` and 12 digits                     mgnify             the whole id
``SRR5512133_130811``, ERR, DRR, OM-RGC;   bfd                the whole id
Prodigal's ``# 210 # 1007 # -1 # ID=…``
anything else, ``gi|5|ref|NP_1.1|``        other              the whole id
=========================================  =================  =============  ============================

What a name may hold (``->``, ``n=``, ``Tax=``, ``=``, parentheses) does no harm, because tails are read from the right.
jackhmmer and HHblits put ``/from-to`` after the id: such a row is a piece of the protein, so the range stays part of
the accession (``P13445/12-90`` for UniProtKB), and the cluster goes without it. NCBI joins the titles of equal proteins
with Ctrl-A or `` >``: the first title gives accession, source and taxon, and the description keeps them all.

Blanks are what Unicode calls white space, and Ctrl-A. No row affects another.

No Python runs for each header. ``read_by_patterns`` is the definition: Arrow kernels, 1.2 µs a header on one core.
Regular headers, nearly all there are, get the same columns from ``plain_headers``: 0.3 µs for UniRef, 0.45 µs for
UniProtKB, 0.6 µs for others, whose first words are still told by pattern. Memory: a few copies of the headers.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formats.plain_headers import OTHER_SOURCE, UNIPROT_SOURCES, PlainHeaders, array_of, mask_of, read_plain

HEADER_SCHEMA = pa.schema(
    [
        pa.field("accession", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("taxon_id", pa.uint32()),
        pa.field("cluster", pa.string()),
        pa.field("description", pa.string()),
    ]
)
"""Columns of :func:`parse_headers`."""

_BLANKS = (
    "\x01\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_BLANK_RUN = f"[{_BLANKS}]+"

_UNIPROT_ACCESSION = r"^(?:sp|tr)\|(?P<found>[^|]+)"
_UNIPROT_RANGE = r"^(?:sp|tr)\|[^|]+\|.*(?P<found>/[0-9]+-[0-9]+)$"
_UNIPROT_TAXON = r"^(?P<found>[0-9]+)(?: |$)"
# RepID= follows, and whatever pairs a tool has added; other words mean that the marker was part of the name.
_UNIREF_TAXON = r"^(?P<found>[0-9]+)(?: [A-Z][A-Za-z]*=[^ ]*)*$"
_TAXON_DIGITS = 10
_PRODIGAL = r"^# [0-9]+ # [0-9]+ # -?1 # ID="
_NEXT_TITLE = rf"(?s)[{_BLANKS}]*(?:\x01| >(?:sp\||tr\||UniRef[0-9])).*"


def parse_headers(headers: pa.Array | pa.ChunkedArray, *, source: str | None = None) -> pa.RecordBatch:
    """Columns from header lines, one row for each, in order.

    Args:
        headers: The text after ``>`` without the line end: string or binary of either offset width, sliced or
            chunked or not. A null counts as an empty header; bytes that are no UTF-8 become U+FFFD.
        source: The database's name for every row, in place of what the header says (``--source NAME=FILE``). Accession,
            taxon and cluster are read by the header's own grammar all the same.

    Returns:
        RecordBatch of ``HEADER_SCHEMA`` with ``len(headers)`` rows. ``accession`` is never null and never holds white
        space; it is empty for an empty header, and the caller makes one from the record key. ``taxon_id`` is the NCBI
        taxonomy number: null where there is none, where it is no number (``TaxID=N/A``) or above 2^32 - 1. ``cluster``
        is the UniRef id, null outside UniRef. ``description`` is what follows the first word, null when nothing does.

    Raises:
        pyarrow.ArrowInvalid: The text of one column is 2 GiB or more: pass fewer headers at once.
    """
    raw = _in_one_piece(headers)
    plain = read_plain(raw)
    columns = _plain_columns(plain, source)
    if plain.is_plain.all():
        return columns
    others = read_by_patterns(raw.filter(mask_of(~plain.is_plain)), source=source)
    if not plain.is_plain.any():
        return others
    places = np.argsort(np.argsort(~plain.is_plain, kind="stable"))
    return pa.concat_batches([columns, others]).take(array_of(pa.int64(), places))


def read_by_patterns(headers: pa.Array | pa.ChunkedArray, *, source: str | None = None) -> pa.RecordBatch:
    """The same as :func:`parse_headers`, by patterns alone: what the columns of a header are by definition."""
    trimmed = pc.utf8_trim(_as_text(_in_one_piece(headers)), characters=_BLANKS)
    words, descriptions = _split_first_word(trimmed)
    grammars = _grammars(words, descriptions)
    in_uniprot = _is_one_of(grammars, "swissprot", "trembl")
    in_uniref = _is_one_of(grammars, "uniref100", "uniref90", "uniref50")
    titles = _first_titles(trimmed)
    return _record_batch(
        pc.coalesce(_uniprot_accessions(_keep(words, in_uniprot)), words),
        _sources(grammars, source),
        _taxon_ids(pc.coalesce(_uniref_taxa(_keep(titles, in_uniref)), _uniprot_taxa(_keep(titles, in_uniprot)))),
        _without_range(_keep(words, in_uniref)),
        descriptions,
    )


def _plain_columns(plain: PlainHeaders, source: str | None) -> pa.RecordBatch:
    grammars = plain.sources.copy()
    is_other = grammars == OTHER_SOURCE
    if is_other.any():
        others = mask_of(is_other)
        grammars[is_other] = _grammars(plain.accessions.filter(others), plain.descriptions.filter(others))
    in_uniref = _is_one_of(grammars, "uniref100", "uniref90", "uniref50")
    return _record_batch(
        plain.accessions,
        _sources(grammars, source),
        plain.taxon_ids,
        _without_range(_keep(plain.accessions, in_uniref)),
        plain.descriptions,
    )


def _record_batch(*columns: pa.Array) -> pa.RecordBatch:
    arrays = [column.cast(field.type) for column, field in zip(columns, HEADER_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=HEADER_SCHEMA)


def _in_one_piece(headers: pa.Array | pa.ChunkedArray) -> pa.LargeBinaryArray:
    """The bytes, nulls as empty strings."""
    if isinstance(headers, pa.ChunkedArray):
        headers = headers.cast(pa.large_binary()).combine_chunks()
    raw = headers.cast(pa.large_binary())
    return pc.fill_null(raw, b"") if raw.null_count else raw


def _as_text(raw: pa.LargeBinaryArray) -> pa.LargeStringArray:
    """Valid UTF-8."""
    try:
        return raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        # A hand-made file in Latin-1: rare enough to go header by header.
        return pa.array([value.decode(errors="replace") for value in raw.to_pylist()], pa.large_string())


def _split_first_word(trimmed: pa.LargeStringArray) -> tuple[pa.LargeStringArray, pa.LargeStringArray]:
    """The first word, and what follows the blanks after it (null when nothing does)."""
    text = _joined_bytes(trimmed)
    if text.min(initial=ord(" ")) == ord(" ") and text.max(initial=ord(" ")) <= ord("~"):
        # The space is the only blank here, and a literal is found four times faster than a class.
        pieces = pc.split_pattern(trimmed, " ", max_splits=1)
    else:
        pieces = pc.split_pattern_regex(trimmed, _BLANK_RUN, max_splits=1)
    words = pieces.values.take(pa.array(pieces.offsets.to_numpy()[:-1]))
    return words, pc.utf8_ltrim(_second_of_two(pieces), characters=_BLANKS)


def _second_of_two(pieces: pa.LargeListArray) -> pa.LargeStringArray:
    """The second string of each list that has two, null for the others."""
    ends = pieces.offsets.to_numpy()
    return pieces.values.take(pa.array(ends[1:] - 1, mask=np.diff(ends) != 2))


def _grammars(words: pa.LargeStringArray, descriptions: pa.LargeStringArray) -> npt.NDArray[np.int8]:
    """Which database's grammar each header follows: int8 positions in ``DATABASE_NAMES``."""
    grammars = np.full(len(words), DATABASE_NAMES.index("other"), dtype=np.int8)
    grammars[_matches(descriptions, _PRODIGAL)] = DATABASE_NAMES.index("bfd")
    for name, pattern in _FIRST_WORDS.items():
        grammars[_matches(words, pattern)] = DATABASE_NAMES.index(name)
    return grammars


def _first_titles(trimmed: pa.LargeStringArray) -> pa.LargeStringArray:
    """The headers up to the next title that was joined on, so that a tail read from the right is the first title's."""
    # Looking at the bytes is five times cheaper than at the rows, and almost always there is nothing to cut.
    text = _joined_bytes(trimmed)
    marks = np.flatnonzero(text == ord(">"))
    if np.any(text[marks - 1] == ord(" ")) or np.any(text == 1):
        return pc.replace_substring_regex(trimmed, _NEXT_TITLE, "")
    return trimmed


def _uniprot_accessions(words: pa.LargeStringArray) -> pa.LargeStringArray:
    accessions = _extract(words, _UNIPROT_ACCESSION)
    if not np.any(_joined_bytes(words) == ord("/")):
        return accessions
    ranges = pc.fill_null(_extract(words, _UNIPROT_RANGE), "")
    return pc.binary_join_element_wise(accessions, ranges, pa.scalar("", pa.large_string()))


def _without_range(words: pa.LargeStringArray) -> pa.LargeStringArray:
    if not np.any(_joined_bytes(words) == ord("/")):
        return words
    return pc.list_element(pc.split_pattern(words, "/", max_splits=1), 0)


def _uniprot_taxa(titles: pa.LargeStringArray) -> pa.LargeStringArray:
    return _extract(_after_last(titles, " OX="), _UNIPROT_TAXON)


def _uniref_taxa(titles: pa.LargeStringArray) -> pa.LargeStringArray:
    return _extract(_after_last(titles, " TaxID="), _UNIREF_TAXON)


def _after_last(titles: pa.LargeStringArray, marker: str) -> pa.LargeStringArray:
    """What follows the last occurrence of the marker, null without one: names may hold the marker, tails come last."""
    return _second_of_two(pc.split_pattern(titles, marker, max_splits=1, reverse=True))


def _taxon_ids(digits: pa.LargeStringArray) -> pa.UInt32Array:
    """Strings of digits as uint32; null where the number does not fit."""
    short = _keep(digits, pc.less_equal(pc.binary_length(digits), _TAXON_DIGITS))
    numbers = short.cast(pa.uint64())
    return _keep(numbers, pc.less_equal(numbers, np.iinfo(np.uint32).max)).cast(pa.uint32())


def _sources(grammars: npt.NDArray[np.int8], source: str | None) -> pa.StringArray:
    names = _DATABASES if source is None else _strings(source)
    positions = grammars if source is None else np.zeros_like(grammars)
    return names.take(array_of(pa.int8(), positions))


def _strings(*values: str) -> pa.StringArray:
    texts = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts)))


def _is_one_of(grammars: npt.NDArray[np.int8], *names: str) -> pa.BooleanArray:
    return mask_of(np.array([name in names for name in DATABASE_NAMES])[grammars])


def _keep(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    """The values where the mask is true, null elsewhere: kernels pass over nulls at next to no cost."""
    return pc.if_else(mask, values, pa.nulls(1, values.type)[0])


def _extract(values: pa.Array, pattern: str) -> pa.Array:
    """The group ``found`` of the pattern in each value, null where there is no match."""
    return pc.struct_field(pc.extract_regex(values, pattern), "found")


def _matches(values: pa.Array, pattern: str) -> npt.NDArray[np.uint64]:
    """Which values match; a null does not."""
    rows = pc.indices_nonzero(pc.match_substring_regex(values, pattern))
    return np.frombuffer(rows.buffers()[1], dtype=np.uint64, count=len(rows))


def _joined_bytes(text: pa.LargeStringArray) -> npt.NDArray[np.uint8]:
    """The bytes that the strings share, uint8 without copying; may hold more than the strings' own."""
    data = text.buffers()[2]
    return np.frombuffer(data if data is not None else b"", dtype=np.uint8)


DATABASE_NAMES = (*UNIPROT_SOURCES, "uniparc", "mgnify", "bfd", "other")
"""The databases whose headers are known, in the default order of ``--source-priority``."""

_DATABASES = _strings(*DATABASE_NAMES)

_OPTIONAL_RANGE = r"(?:/[0-9]+-[0-9]+)?$"

_FIRST_WORDS = {
    "swissprot": r"^sp\|[^|]",
    "trembl": r"^tr\|[^|]",
    "uniref100": r"^UniRef100_[^/]",
    "uniref90": r"^UniRef90_[^/]",
    "uniref50": r"^UniRef50_[^/]",
    "uniparc": rf"^UPI[0-9A-F]{{10}}{_OPTIONAL_RANGE}",
    "mgnify": rf"^MGYP[0-9]{{12}}{_OPTIONAL_RANGE}",
    # Runs of the read archives, and the ocean gene catalogue whose proteins are in BFD too.
    "bfd": rf"^(?:[SED]RR[0-9]+(?:_[0-9]+)+|OM-RGC\.v[0-9]+\.[0-9]+){_OPTIONAL_RANGE}",
}
"""The form of the first word, by database; no word has two of them."""
