"""What is said of a file agrees or does not, and addresses are kept without secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.origin import RemoteFacts, without_secrets


@given(
    first=st.builds(RemoteFacts, num_bytes=st.sampled_from([None, 1, 2]), etag=st.sampled_from([None, "a", "b"]),
                    modified=st.sampled_from([None, "x", "y"])),
    second=st.builds(RemoteFacts, num_bytes=st.sampled_from([None, 1, 2]), etag=st.sampled_from([None, "a", "b"]),
                     modified=st.sampled_from([None, "x", "y"])),
)  # fmt: skip
def test_facts_contradict_each_other_or_not(first, second):
    assert not first.contradicts(first)
    assert first.contradicts(second) == second.contradicts(first)
    if first.etag and second.etag and first.etag != second.etag:
        assert first.contradicts(second)
    if first.num_bytes and second.num_bytes and first.num_bytes != second.num_bytes:
        assert first.contradicts(second)


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("https://u:p@host/f?page=2#top", "https://host/f?page=2"),
        ("https://host/f?X-Amz-Signature=1&page=2", "https://host/f"),
        ("https://host/f?token=1", "https://host/f"),
        ("https://rest.uniprot.org/x?query=a&format=fasta", "https://rest.uniprot.org/x?query=a&format=fasta"),
        ("/path/with?odd#name", "/path/with?odd#name"),
    ],
)
def test_addresses_are_kept_without_secrets(address, printed):
    assert without_secrets(address) == printed
