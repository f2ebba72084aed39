"""Retries with full jitter, and what each fault of an S3 server means."""

import logging
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from deemo_dist.console import logger
from deemo_dist.errors import ConfigError, DeemoError, NotFoundError, StorageError
from deemo_dist.storage.budget import RequestBudget

Result = TypeVar("Result")
BASE_SECONDS, CAP_SECONDS = 0.1, 10.0
WORTH_TELLING = 5
SKEW_SECONDS = 300.0
_OVERLOAD = {
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "503",
    "429",
}
_PASSING = _OVERLOAD | {
    "InternalError",
    "RequestTimeout",
    "ConditionalRequestConflict",
    "OperationAborted",
    "BadDigest",
}
_SECRET = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthFailure", "401"}


class TruncatedBodyError(Exception):
    """Fewer bytes came than the server announced."""


def with_retries(
    call: Callable[[int], Result],
    *,
    budget: RequestBudget,
    retries: int,
    describe: Callable[[BaseException, int], DeemoError],
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Run ``call(attempt)`` up to ``retries`` more times while its fault may pass; each try takes from the budget.

    The wait before try n is drawn from [0, min(10 s, 0.1 s * 2^n)]. ``describe(error, tries)`` makes the final error.
    """
    for attempt in range(retries + 1):
        budget.take()
        try:
            return call(attempt)
        except DeemoError:
            raise
        except Exception as error:  # noqa: BLE001 - sorted by may_pass
            if is_overload(error):
                budget.slow_down()
            if attempt == retries or not may_pass(error):
                raise describe(error, attempt + 1) from None
            wait = random.uniform(0, min(CAP_SECONDS, BASE_SECONDS * 2**attempt))
            level = logging.WARNING if attempt + 1 >= WORTH_TELLING else logging.DEBUG
            logger.log(level, "storage: %s, try %d of %d in %.1f s", reason(error), attempt + 2, retries + 1, wait)
            sleep(wait)
    raise AssertionError("unreachable")


def code_of(error: BaseException) -> str:
    """The S3 error code, or the HTTP status as text, or the exception's name."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code") or status_of(error))
    return type(error).__name__


def status_of(error: BaseException) -> int:
    """The HTTP status of a server's answer, 0 where there was none."""
    response = getattr(error, "response", None)
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(response, dict) else 0


def is_overload(error: BaseException) -> bool:
    """Whether the server asked for fewer requests."""
    return code_of(error) in _OVERLOAD or status_of(error) in (429, 503)


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: 5xx, time-outs, resets, truncated bodies."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return code_of(error) in _PASSING or status_of(error) in (408, 429) or status_of(error) >= 500
    network = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, boto.ResponseStreamingError)
    return isinstance(error, (*network, TruncatedBodyError, ConnectionError, TimeoutError))


def reason(error: BaseException) -> str:
    """A short word for a fault, without addresses or keys."""
    names = {
        "EndpointConnectionError": "no connection",
        "ConnectTimeoutError": "time-out while connecting",
        "ReadTimeoutError": "time-out while waiting for an answer",
        "ConnectionClosedError": "connection closed",
        "IncompleteReadError": "truncated body",
        "ResponseStreamingError": "truncated body",
        "TruncatedBodyError": "truncated body",
        "SSLError": "TLS failed",
        "ProxyConnectionError": "the proxy cannot be reached",
    }
    code = code_of(error)
    return names.get(code, code)


def _skew(error: BaseException) -> float:
    """Seconds by which this machine's clock is ahead of the server's, by the date of its answer; 0 without one."""
    response = getattr(error, "response", None)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(response, dict) else {}
    try:
        return time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return 0.0


def describe(error: BaseException, *, label: str, bucket: str, endpoint: str, tries: int) -> DeemoError:
    """The one-line error for what S3 said: what, where, what to do. Secrets are in none of its parts."""
    code, status = code_of(error), status_of(error)
    where = f"s3://{bucket} at {endpoint}"
    if code == "NoSuchBucket":
        return StorageError(f"there is no bucket {bucket} at {endpoint}", hint="create it, or correct storage.root")
    if code == "NoSuchUpload":
        hint = "start again; a rule of the bucket that drops unfinished uploads must leave them a day"
        return StorageError(f"{where} dropped the parts of {label} before all were there", hint=hint)
    if code in ("NoSuchKey", "404") or status == 404:
        return NotFoundError(f"{label} is not in {where}", hint="check the key and storage.root")
    if code in ("NoCredentialsError", "PartialCredentialsError"):
        return StorageError(f"no credentials for {where}", hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if code in _SECRET:
        hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        return StorageError(f"{where} refused the credentials ({code})", hint=hint)
    skew = _skew(error)
    if code == "RequestTimeTooSkewed" or (status == 403 and abs(skew) > SKEW_SECONDS):
        side = "ahead of" if skew > 0 else "behind"
        ahead = f"{abs(skew):.0f} s {side} the server's" if abs(skew) > SKEW_SECONDS else "not the server's"
        hint = "set this machine's clock (or the server's): S3 refuses what is signed 15 minutes off"
        return StorageError(f"{where} refused {label}: the clock of this machine is {ahead}", hint=hint)
    if status == 403:
        hint = "these credentials are wrong or may not do this: check the AWS_* variables and the role's rights"
        return StorageError(f"{where} refused {label} ({code})", hint=hint)
    if code == "ParamValidationError":
        return ConfigError(f"{bucket!r} or {label!r} is no valid S3 name", hint="correct storage.root")
    if may_pass(error):
        hint = "check storage.endpoint (or AWS_ENDPOINT_URL) and the network, then start again: nothing is lost"
        return StorageError(f"{label}: {where} failed {tries} times: {reason(error)}", hint=hint)
    return StorageError(f"{label}: {where} answered {reason(error)}", hint="see the server's log")
