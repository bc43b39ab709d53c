"""The content digest says what columns hold, whatever their chunks, layout or compression."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.content import ContentHasher, string_bytes
from pipeline.formats.shards import token_array

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("number", pa.uint32()),
        pa.field("source", pa.dictionary(pa.int32(), pa.string())),
        pa.field("lists", pa.list_(pa.string())),
    ]
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | st.text(max_size=3),
            "number": st.none() | st.integers(0, 2**32 - 1),
            "source": st.sampled_from(["a", "b"]),
            "lists": st.lists(st.text(max_size=2), max_size=3),
        }
    ),
    max_size=8,
)


def digest(*tables):
    hasher = ContentHasher()
    for table in tables:
        hasher.update(table)
    return hasher.hexdigest()


@given(rows, st.data())
def test_chunks_and_slices_do_not_matter(entries, data):
    table = pa.Table.from_pylist(entries, SCHEMA)
    cut = data.draw(st.integers(0, len(entries)))
    whole = digest(table)
    assert digest(table.slice(0, cut), table.slice(cut)) == whole
    padded = pa.concat_tables([table, table, table]).combine_chunks().slice(len(entries), len(entries))
    assert digest(padded) == whole


@given(rows, rows)
def test_different_content_differs(one, other):
    left, right = pa.Table.from_pylist(one, SCHEMA), pa.Table.from_pylist(other, SCHEMA)
    assert (digest(left) == digest(right)) == (left.to_pylist() == right.to_pylist())


def test_a_null_is_not_an_empty_string_nor_a_zero():
    for kind, empty in ((pa.string(), ""), (pa.uint32(), 0)):
        assert digest(pa.table({"x": pa.array([None], kind)})) != digest(pa.table({"x": pa.array([empty], kind)}))


def test_the_border_between_values_counts():
    assert digest(pa.table({"x": ["ab", "c"]})) != digest(pa.table({"x": ["a", "bc"]}))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_list_and_binary_layouts_have_one_content(dtype):
    values = np.arange(12, dtype=dtype).reshape(3, 4)
    tables = [pa.table({"input_ids": token_array(values, layout)}) for layout in ("list", "binary")]
    assert digest(tables[0]) == digest(tables[1])
    assert digest(tables[0].slice(1)) == digest(tables[1].slice(1)) != digest(tables[0])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_string_bytes_respects_slices(kind):
    array = pa.array(["ab", "", "cde", None, "f"], kind)
    assert bytes(string_bytes(array.slice(1, 2))) == b"cde"
    assert bytes(string_bytes(array.slice(5))) == b""
