"""The head of an answer as bytes."""

from http import HTTPStatus

from bootstrap.agent_api.model import Answer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def head(answer: Answer, *, keep: bool) -> bytes:
    """Return everything before the body. `keep` is whether another answer may follow."""
    lines = [f"HTTP/1.1 {int(answer.status)} {_phrase(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {answer.length}")
    lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
