"""Every error of litellm becomes a `ModelError` of one line, with advice."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph.engine.models.litellm import translate_error
from teamgraph.errors import ModelError


class Fault(Exception):
    """An error as litellm makes them."""

    def __init__(
        self, message: str, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status
        self.litellm_response_headers = headers

    def __str__(self) -> str:
        return self.message


ANSWERED = {"content-type": "application/json"}


def translated(error: Exception) -> ModelError:
    return translate_error(error, model="a/b")


@settings(deadline=None)
@given(st.text(), st.one_of(st.none(), st.integers(400, 599)), st.booleans())
def test_it_is_one_line_that_names_the_model(text: str, status: int | None, far: bool) -> None:
    error = translated(Fault(text, status, ANSWERED if far else None))
    assert str(error).startswith("model a/b: ")
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 500


def test_a_traceback_in_the_text_of_an_error_is_not_shown() -> None:
    fault = Fault(
        "Invalid response object Traceback (most recent call last):\n  File", 400, ANSWERED
    )
    assert "(400: Invalid response object)" in str(translated(fault))


@settings(deadline=None)
@given(st.integers(400, 599))
def test_only_what_may_pass_is_retryable(status: int) -> None:
    error = translated(Fault("no", status, ANSWERED))
    assert error.retryable == (status in (408, 409, 425, 429) or status >= 500)
    assert error.status == status


@settings(deadline=None)
@given(st.text("abcdef0123456789", min_size=12), st.text())
def test_no_secret_is_shown_anywhere(secret: str, before: str) -> None:
    cause = ValueError(f"{before}{secret}", 3)
    fault = Fault(f"{before}{secret} is wrong", 400, ANSWERED)
    fault.__cause__ = cause
    cause.__context__ = fault
    error = translate_error(fault, model="a/b", secrets=[secret, ""])
    assert not [text for text in (error, fault, cause) if secret in str(text)]


@pytest.mark.parametrize(
    "key", ["sk-proj-abcdefgh1234567890", "sk-ant-api03-abcdefgh1234", "AIzaSyA1234567890abcdef"]
)
def test_what_looks_like_a_key_is_hidden_though_nobody_named_it(key: str) -> None:
    assert "(400: bad [key])" in str(translated(Fault(f"bad {key}", 400, ANSWERED)))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), ("", None)],
)
def test_the_wait_is_a_number_of_seconds(header: str, seconds: float | None) -> None:
    assert translated(Fault("x", 429, {"retry-after": header})).retry_after == seconds


def test_the_wait_may_be_a_date() -> None:
    later = formatdate(time.time() + 100, usegmt=True)
    wait = translated(Fault("x", 429, {"retry-after": later})).retry_after
    assert wait is not None
    assert 50 < wait <= 100
    past = formatdate(time.time() - 100, usegmt=True)
    assert translated(Fault("x", 429, {"retry-after": past})).retry_after == 0.0


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("litellm.BadRequestError: OpenAIException - wrong", "wrong"),
        ("litellm.Timeout: Timeout Error: OpenAIException - slow.", "slow"),
        ("\n\n  two\nlines", "two"),
        ("", "no reason given"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)
def test_the_detail_is_what_the_provider_said(text: str, detail: str) -> None:
    assert f"(400: {detail})" in str(translated(Fault(text, 400, ANSWERED)))


def test_an_error_of_which_nothing_is_known_is_not_retried() -> None:
    error = translated(ValueError("what"))
    assert "the request could not be made (what)" in str(error)
    assert (error.retryable, error.status, error.retry_after) == (False, None, None)


def test_an_unknown_status_is_shown() -> None:
    assert "the provider failed (418: tea); ask again later" in str(
        translated(Fault("tea", 418, ANSWERED))
    )


def test_what_fails_inside_litellm_itself_is_not_the_provider_s_fault() -> None:
    error = translated(Fault("no such attribute", 500))
    assert "the request could not be made (no such attribute)" in str(error)
    assert error.status is None
