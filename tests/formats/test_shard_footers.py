"""Footers apart from their shards: the same bytes, far fewer of them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import IntegrityError
from pipeline.formats.manifest import read_manifest
from pipeline.formats.shard_footers import footer_name, read_footer, unpack_footer, write_footer
from pipeline.formats.storage import file_digest


def test_a_shard_has_its_footer_in_a_file_of_its_own(quickstart):
    shards = quickstart / "shards"
    manifest = read_manifest(shards)
    for file in manifest.tables:
        name = footer_name(file.path)
        data = (shards / name).read_bytes()
        whole = (shards / file.path).read_bytes()
        footer = unpack_footer(data, where=name)
        assert whole.endswith(footer)
        assert footer[-4:] == b"PAR1"
        assert pq.read_metadata(shards / file.path).serialized_size + 8 == len(footer)
        assert len(data) < len(footer) / 2
        entry = next(entry for entry in manifest.files if entry.path == name)
        assert (entry.bytes, entry.xxh3_64) == file_digest(shards / name)
        assert entry.rows == 0


def test_many_row_groups_take_a_hundred_bytes_each(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    columns = {f"column_{number}": list(range(2000)) for number in range(8)}
    pq.write_table(pa.table(columns), path, row_group_size=4, write_statistics=False)
    entry = write_footer(tmp_path, "data/train-00000-of-00001.parquet")
    assert entry.path == "footers/train-00000-of-00001.zst"
    assert unpack_footer((tmp_path / entry.path).read_bytes(), where="x") == read_footer(path)
    assert entry.bytes < 150 * 500


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", b"\x28\xb5\x2f\xfd"])
def test_what_is_no_footer_is_told(data):
    with pytest.raises(IntegrityError, match=r"footers/a\.zst: expected a footer"):
        unpack_footer(data, where="footers/a.zst")
