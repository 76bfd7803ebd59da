"""The form in which an artifact arrives: byte for byte, or refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.model import MalformedError
from bootstrap.agent_api.offline.upload_form import parse
from tests.agent_api.test_contract import form

KIND = "multipart/form-data; boundary=edge"
VALUES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda v: "--edge" not in v)


@given(st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=4), st.binary(max_size=500))
def test_fields_and_content_arrive(fields: dict[str, str], content: bytes) -> None:
    body = form(fields, content)
    read = parse(KIND, io.BytesIO(body), len(body))
    assert read.fields == fields
    assert body[read.start : read.start + read.size] == content


@given(st.binary(max_size=400), st.sampled_from([b"", b"--edge\r\n", form({"path": "a"}, b"b")]))
def test_any_bytes_are_read_or_refused(content: bytes, before: bytes) -> None:
    body = before + content
    try:
        read = parse(KIND, io.BytesIO(body), len(body))
    except MalformedError:
        return
    assert 0 <= read.start <= read.start + read.size <= len(body)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=a b",
             "multipart/form-data; boundary=" + "x" * 71]
)  # fmt: skip
def test_another_type_of_content_is_refused(kind: str) -> None:
    with pytest.raises(MalformedError, match="boundary"):
        parse(kind, io.BytesIO(b"--edge\r\n"), 8)


def test_the_end_has_to_be_the_boundary() -> None:
    body = form({"path": "a"}, b"b")
    for cut in (body[:-1], body + b"x", body[:-4]):
        with pytest.raises(MalformedError, match="end"):
            parse(KIND, io.BytesIO(cut), len(cut))


def test_the_end_is_not_a_part_of_the_beginning() -> None:
    body = form({}, b"").replace(b"\r\n\r\n\r\n--edge--", b"\r\n\r\n--edge--")
    with pytest.raises(MalformedError, match="end"):
        parse(KIND, io.BytesIO(body), len(body))


def test_the_file_has_to_begin_soon() -> None:
    body = form({"path": "a" * 100_000}, b"b")
    with pytest.raises(MalformedError, match="65536"):
        parse(KIND, io.BytesIO(body), len(body))
