"""The few calls of the Kubernetes API that the executor makes, over HTTPS with the standard library alone.

Source: the Kubernetes API reference, core/v1 and batch/v1.
"""

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Json = Any  # Any: documents of the API, read field by field
_CALL_SECONDS: Final = 30.0
_DOCUMENT_MAX: Final = 64 * 1024 * 1024


class ApiError(Exception):
    """The API refused a call, or could not be reached. `status` is the HTTP status, 0 if there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """Where the API is, and as whom it is called. Files are read anew for each call: tokens and certificates rotate."""

    server: str
    ca_file: str = ""
    token_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain values for an order."""
        names = ("server", "ca_file", "token_file", "certificate_file", "key_file")
        return {name: getattr(self, name) for name in names}


class Api:
    """Calls the API. One connection for each call: they are few."""

    def __init__(self, access: ApiAccess) -> None:
        self._access = access

    def call(self, method: str, path: str, body: Json = None) -> Json:
        """Return the document that is answered. Raises ApiError."""
        with self._opened(method, path, body, timeout_seconds=_CALL_SECONDS) as response:
            try:
                return json.loads(response.read(_DOCUMENT_MAX) or b"{}")
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise ApiError(0, f"{self._access.server} answered with what is no document: {error}") from error

    def lines(self, path: str, *, timeout_seconds: float) -> Iterator[bytes]:
        """Yield the lines of an answer that goes on, until it ends. Raises ApiError."""
        with self._opened("GET", path, None, timeout_seconds=timeout_seconds) as response:
            try:
                yield from response
            except (OSError, http.client.HTTPException) as error:
                raise ApiError(0, f"the answer of {self._access.server} broke off: {error}") from error

    @contextmanager
    def _opened(
        self, method: str, path: str, body: Json, *, timeout_seconds: float
    ) -> Iterator[http.client.HTTPResponse]:
        access = self._access
        target = urllib.parse.urlsplit(access.server)
        connection = _connection(access, target, timeout_seconds)
        try:
            headers = {"Accept": "application/json", "Content-Type": "application/json", **_authorization(access)}
            try:
                connection.request(method, target.path.rstrip("/") + path, body and json.dumps(body), headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise ApiError(0, f"{access.server} cannot be reached: {error}") from error
            if response.status >= http.HTTPStatus.BAD_REQUEST:
                raise ApiError(response.status, _message(response))
            yield response
        finally:
            connection.close()


def jobs_path(namespace: str) -> str:
    """Return the path of a namespace's Jobs."""
    return f"/apis/batch/v1/namespaces/{urllib.parse.quote(namespace)}/jobs"


def pods_path(namespace: str, job_name: str) -> str:
    """Return the path of the pods of one Job."""
    selector = urllib.parse.quote(f"job-name={job_name}")
    return f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods?labelSelector={selector}"


def delete(api: Api, namespace: str, job_name: str, grace_seconds: int) -> None:
    """Delete a Job; its pods follow. Raises ApiError."""
    api.call(
        "DELETE",
        f"{jobs_path(namespace)}/{job_name}?propagationPolicy=Background&gracePeriodSeconds={grace_seconds}",
    )


def delete_at_once(api: Api, namespace: str, job_name: str) -> None:
    """Delete a Job and its pods at once, pods also if there is no such Job any more. Raises ApiError."""
    try:
        delete(api, namespace, job_name, 0)
    except ApiError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
    api.call("DELETE", f"{pods_path(namespace, job_name)}&gracePeriodSeconds=0")


def _authorization(access: ApiAccess) -> dict[str, str]:
    if not access.token_file:
        return {}
    try:
        token = Path(access.token_file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ApiError(0, f"the token in {access.token_file} cannot be read: {error}") from error
    if not token.isprintable():
        raise ApiError(0, f"{access.token_file} holds more than a token")
    return {"Authorization": f"Bearer {token}"}


def _connection(
    access: ApiAccess, target: urllib.parse.SplitResult, timeout_seconds: float
) -> http.client.HTTPConnection:
    host = target.hostname or ""
    if target.scheme == "http":
        return http.client.HTTPConnection(host, target.port or 80, timeout=timeout_seconds)
    try:
        context = ssl.create_default_context(cafile=access.ca_file or None)
        if access.certificate_file:
            context.load_cert_chain(access.certificate_file, access.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ApiError(0, f"the certificates for {access.server} cannot be used: {error}") from error
    return http.client.HTTPSConnection(host, target.port or 443, timeout=timeout_seconds, context=context)


def _message(response: http.client.HTTPResponse) -> str:
    try:
        found = json.loads(response.read(65_536)).get("message", "")
    except (ValueError, OSError, AttributeError, http.client.HTTPException):
        found = ""
    return str(found)[:400] or f"HTTP {response.status}"
