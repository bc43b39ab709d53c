"""What a metalink says is taken, what it should say and does not is told, and nothing in it is trusted as a path."""

import hashlib
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.checksums import HEX_DIGITS, Checksum, parse_checksum
from pipeline.formats.metalink import parse_metalink

MD5 = "0123456789abcdef0123456789abcdef"
ENTRY = f"""
    <file name="uniref50.fasta.gz">
      <size>8780552383</size>
      <verification><hash type="md5">{MD5}</hash></verification>
      <resources>
        <url type="https" location="gb" preference="100">https://ftp.ebi.ac.uk/pub/uniref50.fasta.gz</url>
      </resources>
    </file>"""


def document(*entries, version="2025_03", namespace="http://www.metalinker.org/"):
    stated = f"<version>{version}</version>" if version is not None else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<metalink version="3.0" xmlns="{namespace}" type="static">
  <publisher><name>UniProt</name><url>http://www.uniprot.org</url></publisher>
  {stated}
  <files>{"".join(entries)}</files>
</metalink>""".encode()


def entry(name, *, size="<size>5</size>", hashes=f'<hash type="md5">{MD5}</hash>'):
    return f'<file name="{name}">{size}<verification>{hashes}</verification></file>'


def test_release_sizes_and_checksums():
    metalink = parse_metalink(document(ENTRY, entry("README")), "there")
    assert metalink.version == "2025_03"
    assert list(metalink.files) == ["uniref50.fasta.gz", "README"]
    found = metalink.file("uniref50.fasta.gz")
    assert (found.num_bytes, str(found.checksum)) == (8_780_552_383, f"md5:{MD5}")


def test_a_name_that_is_not_listed():
    metalink = parse_metalink(document(ENTRY), "https://there/RELEASE.metalink")
    with pytest.raises(InputFormatError, match=r"https://there/RELEASE.metalink: expected an entry for uniref90"):
        metalink.file("uniref90.fasta.gz")


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (entry("f", hashes=""), "expected a checksum, found none"),
        (entry("f", hashes='<hash type="crc32">00000000</hash>'), "expected a checksum, found none"),
        (f'<file name="f"><size>5</size><pieces><hash type="md5">{MD5}</hash></pieces></file>', "expected a checksum"),
        (entry("f", size=""), "expected a size, found none"),
    ],
)
def test_what_is_missing_matters_only_for_the_file_that_is_wanted(bad, what):
    metalink = parse_metalink(document(ENTRY, bad), "there")
    assert metalink.file("uniref50.fasta.gz")
    with pytest.raises(InputFormatError, match=f"there: f: {what}"):
        metalink.file("f")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "expected XML, found no element found at line 1"),
        (b"<html><body>404</p></html>", "found mismatched tag at line 1, column 18"),
        (b"<x:metalink/>", "found unbound prefix"),
        (document(ENTRY)[:300], "expected XML"),
        (document(ENTRY).replace(b"UTF-8", b"KTF-8"), "expected XML in UTF-8, found unknown encoding"),
        (document(ENTRY).replace(b"UTF-8", b"utf-7"), "expected XML"),
        (document(ENTRY, namespace="urn:ietf:params:xml:ns:metalink"), "expected Metalink 3.0, .* found <metalink> in"),
        (b"<html/>", "found <html> without namespace"),
        (document(), "expected <file> entries, found none"),
        (document("<file><size>1</size></file>"), "expected a name on every <file>"),
        (document(ENTRY, ENTRY), "uniref50.fasta.gz: listed twice"),
        (document(entry("f", size="<size>-1</size>")), "f: expected <size> in bytes, found '-1'"),
        (document(entry("f", size="<size>1e9</size>")), "expected <size> in bytes"),
        (document(entry("f", hashes='<hash type="md5">abc</hash>')), "expected 32 hexadecimal digits for md5, found 3"),
    ],
)
def test_malformed_ones_are_told_in_a_sentence(data, what):
    with pytest.raises(InputFormatError, match=what) as caught:
        parse_metalink(data, "there")
    assert caught.value.message.startswith("there: ")
    assert "\n" not in caught.value.message


def test_entities_are_refused_before_they_expand():
    bomb = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    for declared in (bomb, b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">'):
        data = document(entry("f", size="<size>&b;</size>")).replace(b"?>\n", b"?>\n" + declared, 1)
        with pytest.raises(InputFormatError, match="expected no document type declaration, found one"):
            parse_metalink(data, "there")
        with pytest.raises(InputFormatError, match="document type"):
            parse_metalink(data.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "there")


def test_too_much_of_it_is_refused(monkeypatch):
    monkeypatch.setattr("pipeline.formats.metalink.MOST_BYTES", 100)
    with pytest.raises(InputFormatError, match="expected at most"):
        parse_metalink(document(ENTRY), "there")


def test_the_strongest_checksum_is_taken():
    hashes = "".join(
        f'<hash type="{name}">{"A" * HEX_DIGITS[name.replace("-", "")]}</hash>' for name in ("sha-256", "md5", "sha1")
    )
    assert parse_metalink(document(entry("f", hashes=hashes)), "x").file("f").checksum == Checksum("sha256", "a" * 64)


def test_names_that_match_come_in_the_order_of_their_numbers():
    names = [f"uniparc_active_p{number}.fasta.gz" for number in (10, 2, 1, 200)]
    others = ["README", "uniparc_active_p1.fasta.gz.md5", "../uniparc_active_p3.fasta.gz"]
    metalink = parse_metalink(document(*map(entry, names + others)), "x")
    found = [item.name for item in metalink.matching(r"uniparc_active_p[0-9]+\.fasta\.gz")]
    assert found == [f"uniparc_active_p{number}.fasta.gz" for number in (1, 2, 10, 200)]


def test_without_a_version():
    assert parse_metalink(document(ENTRY, version=None), "x").version is None


@given(st.binary(max_size=300))
def test_any_bytes_give_a_metalink_or_one_error(data):
    with pytest.raises(InputFormatError):
        parse_metalink(data, "there")


@given(st.integers(0, 1 << 16), st.integers(0, len(document(ENTRY)) - 1))
def test_a_changed_byte_gives_a_metalink_or_one_error(bits, place):
    data = bytearray(document(ENTRY))
    data[place] = zlib.crc32(bits.to_bytes(4, "big")) & 0xFF
    with suppress(InputFormatError):
        assert parse_metalink(bytes(data), "there").files


class TestChecksums:
    @pytest.mark.parametrize("algorithm", HEX_DIGITS)
    def test_each_algorithm_is_what_hashlib_says(self, algorithm):
        digest = hashlib.new(algorithm, b"abc").hexdigest()
        checksum = parse_checksum(f" {algorithm.upper()}:{digest.upper()}\n")
        assert str(checksum) == f"{algorithm}:{digest}"
        hasher = checksum.hasher()
        hasher.update(b"abc")
        assert hasher.hexdigest() == checksum.hexadecimal

    def test_the_dash_of_sha_256(self):
        assert parse_checksum("sha-256:" + "0" * 64).algorithm == "sha256"

    @pytest.mark.parametrize("text", ["", MD5, f"crc32:{MD5}", "md5:", f"md5:{MD5}0", f"md5:{'g' * 32}", "md5"])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(ConfigurationError, match="checksum"):
            parse_checksum(text)
