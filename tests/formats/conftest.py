"""What the tests of the readers share."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipeline.formats.headers import HEADER_SCHEMA


class Read(NamedTuple):
    """All blocks of one input in one."""

    columns: list[dict[str, Any]]
    residues: list[str]
    places: list[str]
    skipped: dict[str, int]
    num_comment_lines: int

    @property
    def accessions(self) -> list[str]:
        return [row["accession"] for row in self.columns]


@pytest.fixture(scope="session")
def gather() -> Callable[[Iterable[Any]], Read]:
    """A function that joins blocks and checks on the way what every block promises."""

    def gather_blocks(blocks: Iterable[Any]) -> Read:
        read = Read([], [], [], {}, 0)
        skipped: Counter[str] = Counter()
        num_comment_lines = 0
        for block in blocks:
            table = block.columns()
            table.validate(full=True)
            assert table.schema.equals(HEADER_SCHEMA)
            assert block.residues.dtype == np.uint8
            assert block.offsets.dtype == np.int64
            assert block.first_record == len(read.residues)
            assert block.num_records == table.num_rows == len(block.offsets) - 1 >= 1
            assert block.offsets[0] == 0
            assert block.offsets[-1] == len(block.residues)
            assert block.residues.tobytes() == block.residues.tobytes().upper()
            text = block.residues.tobytes().decode("latin-1")
            assert not set(text) & set(" \t\r\n\v\f")
            read.columns.extend(table.to_pylist())
            bounds = block.offsets.tolist()
            read.residues.extend(text[start:end] for start, end in pairwise(bounds))
            read.places.extend(block.place(index) for index in range(block.num_records))
            skipped.update(block.skipped)
            num_comment_lines += block.num_comment_lines
        return read._replace(skipped=dict(skipped), num_comment_lines=num_comment_lines)

    return gather_blocks
