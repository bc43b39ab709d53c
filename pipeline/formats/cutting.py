"""A stream of blocks cut behind a mark: flat-file entries, XML elements, NUL-terminated entries.

::

    blocks   ab//c│d/│/ef          mark "//"
    pieces   ab//  cd//  ef        the last one has no mark: the text goes on behind the last

Cost: one search over the text and a copy or two of it. Memory: a block and the longest piece.
"""

from collections.abc import Iterable, Iterator


def cut_behind(blocks: Iterable[bytes], mark: bytes) -> Iterator[bytes]:
    """The same text in pieces, each ending with the mark; what is behind the last mark comes last, if it is not empty.

    Args:
        blocks: A text in blocks of any size.
        mark: At least one byte.
    """
    pending: list[bytes] = []
    tail = b""
    for block in blocks:
        text = tail + block
        start = 0
        while (found := text.find(mark, start)) >= 0:
            end = found + len(mark)
            if pending:
                yield b"".join([*pending, text[start:end]])
                pending = []
            else:
                yield text[start:end]
            start = end
        # A mark may have begun at the end of the block.
        begun = max(start, len(text) - len(mark) + 1)
        pending.append(text[start:begun])
        tail = text[begun:]
    if rest := b"".join([*pending, tail]):
        yield rest


def split(blocks: Iterable[bytes], mark: bytes) -> Iterator[bytes]:
    """The pieces of ``b"".join(blocks).split(mark)``, as they come.

    Args:
        blocks: A text in blocks of any size.
        mark: At least one byte.
    """
    ends_with_mark = True
    for piece in cut_behind(blocks, mark):
        ends_with_mark = piece.endswith(mark)
        yield piece.removesuffix(mark)
    if ends_with_mark:
        yield b""
