"""Batches as the reader hands them over: random proteins, with everything that a batch may hold."""

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer

LENGTH = 64
SEGMENT_COLUMNS = ("lengths", "record_keys", "starts")


def _make_batch(num_rows, tokenizer=None, *, prefix=None, suffix=None, alignment=1, longest=13, empty_rows=()):
    rng = np.random.default_rng(7)
    tokenizer = tokenizer or load_tokenizer("esm2")
    prefix = tokenizer.prefix if prefix is None else prefix
    suffix = tokenizer.suffix if suffix is None else suffix
    residues = tokenizer.table[np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)]
    input_ids = np.full((num_rows, LENGTH), tokenizer.pad_id, dtype=tokenizer.dtype)
    sequence_id = np.full((num_rows, LENGTH), -1, dtype=np.int16)
    position_ids = np.zeros((num_rows, LENGTH), dtype=np.int32)
    lengths, row_offsets = [], [0]
    for row in range(num_rows):
        first = 0
        for number in range(0 if row in empty_rows else rng.integers(2, 5)):
            tokens = [*prefix, *rng.choice(residues, rng.integers(1, longest + 1)), *suffix]
            here = slice(first, first + len(tokens))
            if here.stop > LENGTH:
                break
            input_ids[row, here], sequence_id[row, here] = tokens, number
            position_ids[row, here] = np.arange(len(tokens))
            lengths.append(len(tokens))
            first += -(-len(tokens) // alignment) * alignment
        row_offsets.append(len(lengths))
    return {
        "input_ids": input_ids,
        "sequence_id": sequence_id,
        "position_ids": position_ids,
        "lengths": np.array(lengths, dtype=np.uint32),
        "row_offsets": np.array(row_offsets, dtype=np.int64),
        "record_keys": rng.integers(0, 1 << 64, len(lengths), dtype=np.uint64),
        "starts": rng.integers(0, 3, len(lengths)).astype(np.uint32) * 512,
    }


def _take_rows(batch, rows):
    offsets = batch["row_offsets"]
    segments = [segment for row in rows for segment in range(offsets[row], offsets[row + 1])]
    return {
        **{name: batch[name][list(rows)] for name in ("input_ids", "sequence_id", "position_ids")},
        **{name: batch[name][np.array(segments, dtype=np.int64)] for name in SEGMENT_COLUMNS},
        "row_offsets": np.cumsum([0, *np.diff(offsets)[list(rows)]]),
    }


def _relay(batch, order, num_rows, *, pad_id):
    """The segments in another order, dealt to rows in turns; alignment 1."""
    pieces = list(_pieces(batch))
    rows = [[pieces[segment] for segment in order[row::num_rows]] for row in range(num_rows)]
    length = max(batch["input_ids"].shape[1], *(sum(len(tokens) for tokens, *_ in row) for row in rows))
    input_ids = np.full((num_rows, length), pad_id, dtype=batch["input_ids"].dtype)
    for row, segments in enumerate(rows):
        joined = np.concatenate([np.empty(0, dtype=input_ids.dtype), *(tokens for tokens, *_ in segments)])
        input_ids[row, : len(joined)] = joined
    flat = [piece for row in rows for piece in row]
    return {
        "input_ids": input_ids,
        "lengths": np.array([len(tokens) for tokens, *_ in flat], dtype=np.uint32),
        "row_offsets": np.cumsum([0, *map(len, rows)]),
        "record_keys": np.array([key for _, key, _ in flat], dtype=np.uint64),
        "starts": np.array([start for *_, start in flat], dtype=np.uint32),
    }


def _pieces(batch):
    for row, (first, last) in enumerate(zip(batch["row_offsets"][:-1], batch["row_offsets"][1:], strict=True)):
        column = 0
        for segment in range(first, last):
            length = int(batch["lengths"][segment])
            tokens = batch["input_ids"][row, column : column + length]
            yield tokens, int(batch["record_keys"][segment]), int(batch["starts"][segment])
            column += length


@pytest.fixture(scope="session")
def make_batch():
    """``make_batch(num_rows, tokenizer, prefix=…, suffix=…, alignment=…, longest=…, empty_rows=…)``."""
    return _make_batch


@pytest.fixture(scope="session")
def take_rows():
    """``take_rows(batch, rows)``: the batch of these rows, in this order."""
    return _take_rows


@pytest.fixture(scope="session")
def by_segment():
    """``by_segment(batch, name)``: {(record key, start): values of each segment} of an array [rows, length]."""

    def cut(batch, name, lengths="lengths", first=0):
        found = {}
        for row, (begin, end) in enumerate(zip(batch["row_offsets"][:-1], batch["row_offsets"][1:], strict=True)):
            column = first
            for segment in range(begin, end):
                stop = column + int(batch[lengths][segment])
                identity = (int(batch["record_keys"][segment]), int(batch["starts"][segment]))
                found[identity] = batch[name][row, column:stop].tolist()
                column = stop
        return found

    return cut


@pytest.fixture(scope="session")
def relay():
    """``relay(batch, order, num_rows, pad_id=…)``: the same segments in other rows."""
    return _relay
