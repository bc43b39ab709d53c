"""Plain headers to accessions, taxa and descriptions, a block at once, by arithmetic on its bytes.

``headers`` defines by patterns what a header means, and reads any. Nearly all are so regular that it is enough to know
where their blanks and bars are; read here, they give the same values in a quarter of the time::

    UniRef90_P62316 Sm-like protein n=1 Tax=Mus musculus TaxID=10090 RepID=SMD2_MOUSE
                   └─ first blank                       │           └─ last blank
                                                        └─ last but one
    sp|P13445|RPOS_ECOLI Sigma factor RpoS OS=Escherichia coli (strain K12) OX=83333 GN=rpoS PE=1 SV=3
             └─ second  └─ first blank                                     └─ last " OX="
                bar
    MGYP000510094044 FL=1
                    └─ first blank

A header is plain where nothing is in doubt:

- It is printable ASCII, with no blank before it, one at most behind it, one after the first word, and no `` >``, where
  another title may begin.
- UniRef: it is the id alone, or its last words are ``TaxID=…`` and ``RepID=…``.
- UniProtKB: the first word has two bars, and behind the second neither a third nor a ``/``, where a range may begin.
- The taxon has no more than eight digits. ``N/A`` and the like have none.

Two devices make it fast. A *window* is the eight bytes from some place on as one number, the first byte lowest: one
comparison tells whether they begin with `` TaxID=``. *Flags* are one bit for each byte, set where a letter is. A window
of flags shows 57 bytes or more; 48 are used. Its lowest or highest bit tells where the next or last letter is::

    bytes     O X = 8 3 3 3 3   G N = r p o S   P E = 1 …
    blanks    0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 1 0 0 0 0 …       8 zeros below the lowest bit: it is 8 bytes to the blank

Cost on one core, in blocks of some thousand headers: 0.25 to 0.4 µs a header. Memory: about four times the headers.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt8Array = npt.NDArray[np.uint8]
UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]

UNIPROT_SOURCES = ("swissprot", "trembl", "uniref100", "uniref90", "uniref50")
"""The databases whose headers say more than an id and a description."""

OTHER_SOURCE = -1
"""In place of a position in ``UNIPROT_SOURCES``: another database."""

_FIRST_UNIREF = UNIPROT_SOURCES.index("uniref100")
# By source; the last is that of OTHER_SOURCE.
_PREFIX_BYTES = np.array([len("sp|"), len("tr|"), len("UniRef100_"), len("UniRef90_"), len("UniRef50_"), 0])
_NO_TAXON, _IN_DOUBT = -1, -2
_WINDOW = 8
_SIGHT = 48
_MARGIN = 128


class PlainHeaders(NamedTuple):
    """The plain ones among ``n`` headers: ``k`` of them, in their order."""

    is_plain: BoolArray
    """bool[n]: which headers they are."""
    sources: Int8Array
    """int8[k]: positions in ``UNIPROT_SOURCES``, or ``OTHER_SOURCE``."""
    accessions: pa.LargeStringArray
    """k strings, none of them empty."""
    taxon_ids: pa.UInt32Array
    """k numbers, null where there is none."""
    descriptions: pa.LargeStringArray
    """k strings, null where nothing follows the first word."""


class _Block(NamedTuple):
    """The bytes of n headers, and places in them."""

    characters: UInt8Array
    """uint8: 128 dots, the headers with nothing between them, 128 dots, so that all windows are inside."""
    windows: UInt64Array
    """uint64: the window at each place."""
    is_blank: BoolArray
    """bool: whether there is a blank at each place."""
    blanks: UInt64Array
    """uint64: the same as flags."""
    starts: Int64Array
    """int64[n]: the first place of each header."""
    word_ends: Int64Array
    """int64[n]: the place behind its first word."""
    ends: Int64Array
    """int64[n]: the place behind it, or behind its last byte but one if the last is a blank."""


def read_plain(headers: pa.LargeBinaryArray) -> PlainHeaders:
    """Find the plain headers, and read them.

    Args:
        headers: The text after ``>`` without the line end. Any bytes, but no nulls.
    """
    block = _block(headers)
    sources = _sources(block)
    in_uniref = sources >= _FIRST_UNIREF
    in_uniprot = (sources != OTHER_SOURCE) & ~in_uniref
    starts, ends = block.starts, block.word_ends
    taxa = np.full(len(sources), _NO_TAXON, dtype=np.int64)
    if in_uniprot.any():
        starts = np.where(in_uniprot, starts + len("sp|"), starts)
        ends = np.where(in_uniprot, _second_bars(block), ends)
        taxa = np.where(in_uniprot, _uniprot_taxa(block), taxa)
    if in_uniref.any():
        taxa = np.where(in_uniref, _uniref_taxa(block), taxa)
    is_plain = _is_clean(block) & (starts < ends) & (taxa != _IN_DOUBT)
    taxa = taxa[is_plain]
    accessions, descriptions = _slices(
        block.characters,
        [places[is_plain] for places in (starts, ends, np.minimum(block.word_ends + 1, block.ends), block.ends)],
    )
    return PlainHeaders(
        is_plain=is_plain,
        sources=sources[is_plain],
        accessions=accessions,
        taxon_ids=array_of(pa.uint32(), taxa.astype(np.uint32), taxa != _NO_TAXON),
        descriptions=descriptions,
    )


def _block(headers: pa.LargeBinaryArray) -> _Block:
    _, offset_buffer, data = headers.buffers()
    # The offsets of an empty array may be left out.
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[headers.offset :] if len(headers) else np.zeros(1, np.int64)
    offsets = offsets[: len(headers) + 1]
    text = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
    margin = np.full(_MARGIN, ord("."), dtype=np.uint8)
    characters = np.concatenate((margin, text, margin))
    is_blank = characters == ord(" ")
    blanks = _flags(is_blank)
    places = offsets + (_MARGIN - offsets[0])
    starts, ends = places[:-1], places[1:] - is_blank[places[1:] - 1]
    word_ends = np.minimum(starts + _lowest(_seen(blanks, starts)), ends)
    is_far = word_ends - starts > _SIGHT
    if is_far.any():
        places = np.append(np.flatnonzero(is_blank), len(characters))
        word_ends[is_far] = np.minimum(places[np.searchsorted(places, starts[is_far])], ends[is_far])
    return _Block(characters, _windows(characters), is_blank, blanks, starts, word_ends, ends)


def _sources(block: _Block) -> Int8Array:
    """int8[n]: position in ``UNIPROT_SOURCES``, told by how the first word begins, or ``OTHER_SOURCE``."""
    sources = np.full(len(block.starts), OTHER_SOURCE, dtype=np.int8)
    windows = block.windows[block.starts]
    for source, prefix in enumerate((b"sp|", b"tr|")):
        sources[_begins(windows, prefix)] = source
    in_uniref = _begins(windows, b"Un")
    if in_uniref.any():
        windows = block.windows[block.starts + len("Un")]
        for source, prefix in enumerate((b"iRef100_", b"iRef90_", b"iRef50_"), start=_FIRST_UNIREF):
            sources[in_uniref & _begins(windows, prefix)] = source
    ids = block.starts + _PREFIX_BYTES[sources]
    has_id = (ids < block.word_ends) & ((block.characters[ids] != ord("/")) | (sources < _FIRST_UNIREF))
    sources[~has_id] = OTHER_SOURCE
    return sources


def _is_clean(block: _Block) -> BoolArray:
    """bool[n]: printable ASCII, no doubtful blank at the end or after the first word, no second title."""
    characters, is_blank, word_ends, ends = block.characters, block.is_blank, block.word_ends, block.ends
    is_clean = ~is_blank[ends - 1] & (~is_blank[word_ends + 1] | (word_ends + 1 >= ends))
    begins_title = is_blank[:-1] & (characters[1:] == ord(">"))
    if begins_title.any():
        is_clean[_rows(block, np.flatnonzero(begins_title))] = False
    if characters.min() < ord(" ") or characters.max() > ord("~"):
        is_clean[_rows(block, np.flatnonzero((characters < ord(" ")) | (characters > ord("~"))))] = False
    return is_clean


def _rows(block: _Block, places: Int64Array) -> Int64Array:
    """The header that each place is in."""
    return np.searchsorted(block.starts, places, side="right") - 1


def _uniref_taxa(block: _Block) -> Int64Array:
    """int64[n]: what ``_numbers`` gives, if these are headers of UniRef."""
    last, last_but_one = _last_two(block.blanks, block.ends)
    has_tail = _begins(block.windows[last_but_one], b" TaxID=") & _begins(block.windows[last], b" RepID=")
    has_tail &= (block.word_ends <= last_but_one) & (last + len(" RepID=") <= block.ends)
    taxa = _numbers(block, last_but_one + len(" TaxID="), last)
    return np.where(has_tail, taxa, np.where(block.word_ends == block.ends, _NO_TAXON, _IN_DOUBT))


def _uniprot_taxa(block: _Block) -> Int64Array:
    """int64[n]: what ``_numbers`` gives, if these are headers of UniProtKB."""
    marks = np.flatnonzero(block.is_blank[:-2] & (block.characters[2:] == ord("X")))
    marks = marks[_begins(block.windows[marks], b" OX=")]
    rows = _rows(block, marks)
    taxa = np.full(len(block.starts), _NO_TAXON, dtype=np.int64)
    # Of several in one header the last one stays.
    taxa[rows] = _numbers(block, marks + len(" OX="), block.ends[rows])
    return taxa


def _second_bars(block: _Block) -> Int64Array:
    """int64[n]: where the second bar is, if these are headers of UniProtKB; 0 where that is in doubt."""
    marks = _flags((block.characters == ord("|")) | (block.characters == ord("/")))
    ids = block.starts + len("sp|")
    seen = _seen(marks, ids)
    second, third = ids + _lowest(seen), ids + _lowest(seen & (seen - 1))
    is_sure = (second < block.word_ends) & (block.word_ends <= np.minimum(third, ids + _SIGHT))
    return np.where(is_sure & (block.characters[second] == ord("|")), second, 0)


def _numbers(block: _Block, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """The numbers from each start up to a blank or the end; ``_NO_TAXON`` for other text, or ``_IN_DOUBT``."""
    # Eight digits in one register: https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/
    digits = block.windows[starts] ^ 0x3030303030303030
    is_other = np.asarray((digits + 0x7676767676767676) & 0x8080808080808080, dtype=np.uint64)
    num_digits = np.minimum(_lowest(is_other) >> 3, ends - starts)
    digits <<= (8 * (_WINDOW - num_digits)).view(np.uint64)
    pairs = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FF
    fours = (pairs * 100 + (pairs >> 16)) & 0x0000FFFF0000FFFF
    numbers = (fours * 10_000 + (fours >> 32)) & 0x00000000FFFFFFFF
    behind = starts + num_digits
    is_number = (num_digits > 0) & (block.is_blank[behind] | (behind == ends))
    in_doubt = (num_digits < 0) | ((num_digits == _WINDOW) & ~is_number)
    return np.where(is_number, numbers.view(np.int64), np.where(in_doubt, _IN_DOUBT, _NO_TAXON))


def _begins(windows: UInt64Array, literal: bytes) -> BoolArray:
    """Which windows begin with a literal of up to eight bytes."""
    mask, number = (int.from_bytes(text, "little") for text in (b"\xff" * len(literal), literal))
    return np.asarray(windows & mask == number)


def _windows(values: UInt8Array) -> UInt64Array:
    """The eight bytes from each one on, without a copy."""
    return np.ndarray(len(values) - _WINDOW + 1, np.dtype("<u8"), values, strides=(1,))


def _flags(is_set: BoolArray) -> UInt64Array:
    """The windows of flags at each eighth place."""
    return _windows(np.packbits(is_set, bitorder="little"))


def _seen(flags: UInt64Array, places: Int64Array) -> UInt64Array:
    """The flags from each place on, 57 or more of them."""
    return np.asarray(flags[places >> 3] >> (places & 7).view(np.uint64))


def _lowest(seen: UInt64Array) -> Int64Array:
    """How many zeros are below the lowest bit; 64 without one."""
    return np.asarray(np.bitwise_count((seen & -seen) - 1), dtype=np.int64)


def _last_two(flags: UInt64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The last flag before each end, and the one before that; 49 bytes before the end where it is not in sight."""
    # The exponent of a float is where its highest bit is, and floats are exact to 53 bits.
    seen = (_seen(flags, ends - _SIGHT) & (2**_SIGHT - 1)).astype(np.float64)
    _, last = np.frexp(seen)
    _, last_but_one = np.frexp(seen - np.ldexp(0.5, last))
    origins = ends - _SIGHT - 1
    return origins + last, origins + last_but_one


def _slices(characters: UInt8Array, places: list[Int64Array]) -> tuple[pa.LargeStringArray, pa.LargeStringArray]:
    """The text from the first to the second places, and from the third to the fourth, null where that is empty."""
    # Arrow's string arrays have no holes: the slices are some elements of one that covers the text.
    borders = np.column_stack(places).ravel()
    if not len(borders):
        return pa.nulls(0, pa.large_string()), pa.nulls(0, pa.large_string())
    covering = pa.LargeStringArray.from_buffers(len(borders) - 1, pa.py_buffer(borders), pa.py_buffer(characters))
    first, second = np.arange(0, len(borders), 4), np.arange(2, len(borders), 4)
    is_text = places[2] < places[3]
    return covering.take(array_of(pa.int64(), first)), covering.take(array_of(pa.int64(), second, is_text))


# pa.array() does as much, but imports pandas where it is installed: 0.4 s for each process.


def array_of(data_type: pa.DataType, values: npt.NDArray[Any], is_valid: BoolArray | None = None) -> pa.Array:
    """Numbers as an array of a data type of their width; null where ``is_valid`` is false."""
    validity = None if is_valid is None or is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(data_type, len(values), [validity, pa.py_buffer(values)])


def mask_of(flags: BoolArray) -> pa.BooleanArray:
    """Flags as an array."""
    return pa.Array.from_buffers(pa.bool_(), len(flags), [None, pa.py_buffer(np.packbits(flags, bitorder="little"))])
