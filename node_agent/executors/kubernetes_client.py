"""Stands for one Job of Kubernetes, in the foreground: creates it, follows its pod, copies its log, deletes it.

Every call names the Job by a name that no other one has, so that one whose creation was interrupted is found too.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any, Final

from node_agent.executors.kubernetes_api import (
    Api,
    ApiAccess,
    ApiError,
    delete,
    delete_at_once,
    jobs_path,
    pods_path,
)
from node_agent.executors.pod import IMAGE_PATIENCE_SECONDS, PodView, view
from node_agent.executors.site_file import SiteFile, SiteState
from node_agent.jobs.executor import ORDER_FILE

_WATCH_SECONDS: Final = 20
_PAUSE_SECONDS: Final = 1.0
_LAST_WORDS_SECONDS: Final = 10.0
_GONE_SECONDS: Final = 1.0  # of a pod that was taken away there may be nothing left to read
_LOG_QUIET_SECONDS: Final = 3600.0
_FAILED: Final = frozenset({"Failed", "FailureTarget"})
_CONFLICT, _NOT_FOUND = 409, 404
_SERVER_ERROR: Final = 500
_LATER: Final = frozenset({408, 425, 429})


class Client:
    """One Job."""

    def __init__(self, directory: Path) -> None:
        order: dict[str, Any] = json.loads((directory / ORDER_FILE).read_text())  # Any: JSON of our own
        self._job = order["job"]
        self._name: str = self._job["metadata"]["name"]
        self._namespace: str = order["namespace"]
        self._grace_seconds: int = order["grace_seconds"]
        self._api = Api(ApiAccess(**order["access"]))
        self._file = SiteFile(directory)
        self._stopping = threading.Event()
        self._logs: threading.Thread | None = None
        self._ended = threading.Event()

    def run(self) -> int:
        """Create the Job and stay until its pod has ended. Return the exit code of this process."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._stopping.set())
        try:
            self._create()
        except ApiError as error:
            self._file.write(SiteState("ended", f"Kubernetes took no job: {error}", "", "start_failed", 1))
            return 1
        self._file.write(SiteState("waiting", f"waits in Kubernetes as Job {self._name}", self._name))
        end = self._follow()
        self._ended.set()
        if self._logs is None and end.outcome != "start_failed":
            self._begin_log(end.engine_id)  # it ended before anybody saw it run
        if self._logs is not None:
            self._logs.join(_GONE_SECONDS if end.outcome == "supervisor_lost" else _LAST_WORDS_SECONDS)
        self._file.write(end)
        self._delete_quietly(self._grace_seconds)
        return 0

    def kill(self) -> int:
        """Delete the Job and its pods at once."""
        try:
            delete_at_once(self._api, self._namespace, self._name)
        except ApiError as error:
            return 0 if error.status == _NOT_FOUND else 1
        return 0

    @property
    def _pods(self) -> str:
        return pods_path(self._namespace, self._name)

    @property
    def _jobs(self) -> str:
        return jobs_path(self._namespace)

    def _create(self) -> None:
        """Create the Job. Raises ApiError if it is refused, so that there is none.

        What was asked without an answer may have been done, so it is asked again until there is one.
        """
        while True:
            try:
                self._api.call("POST", self._jobs, self._job)
            except ApiError as error:
                if error.status == _CONFLICT:
                    return
                if 0 < error.status < _SERVER_ERROR and error.status not in _LATER:
                    raise
                self._file.write(SiteState("waiting", f"waits for Kubernetes to take it: {str(error)[:300]}"))
                if self._stopping.is_set() and self._delete_quietly(0):
                    raise
                self._wait(_PAUSE_SECONDS)
            else:
                return

    def _follow(self) -> SiteState:
        """Follow the Job's pod until it has ended or is gone; return how it ended."""
        deleted = False
        seen = PodView(SiteState("waiting"), "")
        image_missing_since: float | None = None
        while True:
            if self._stopping.is_set() and not deleted:
                deleted = self._delete_quietly(self._grace_seconds)
            try:
                pods = self._api.call("GET", self._pods)
            except ApiError as error:
                # The API is away; what runs goes on running.
                seen_text = seen.state.message or str(error)
                if seen.state.state == "waiting":
                    self._file.write(SiteState("waiting", f"{seen_text[:300]} ({error})", self._name))
                self._wait(_PAUSE_SECONDS)
                continue
            items = pods.get("items", [])
            if not items and (deleted or seen.name or self._is_deleted()):
                return self._gone(deleted=deleted)
            if items:
                seen = view(max(items, key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))))
                if seen.state.state == "ended":
                    return seen.state
                self._tell(seen)
            now = time.monotonic()
            image_missing_since = (image_missing_since or now) if seen.image_missing else None
            if image_missing_since is not None and now - image_missing_since > IMAGE_PATIENCE_SECONDS:
                return SiteState("ended", f"its image cannot be pulled: {seen.state.message}", "", "start_failed", 1)
            self._watch(str(pods.get("metadata", {}).get("resourceVersion", "")))

    def _tell(self, seen: PodView) -> None:
        self._file.write(seen.state)
        if seen.state.state == "running" and self._logs is None:
            self._begin_log(seen.name)

    def _begin_log(self, pod: str) -> None:
        self._logs = threading.Thread(target=self._copy_log, args=(pod,), daemon=True)
        self._logs.start()

    def _gone(self, *, deleted: bool) -> SiteState:
        if deleted or self._stopping.is_set():
            return SiteState("ended", "", self._name, "signaled", None, int(signal.SIGTERM))
        if self._failed_by() == "DeadlineExceeded":
            return SiteState("ended", "ran for as long as it may", self._name, "timed_out", 1)
        text = "its pod was deleted in Kubernetes, by a person or with its node"
        return SiteState("ended", text, self._name, "supervisor_lost", 1)

    def _is_deleted(self) -> bool:
        """Return whether the Job itself is surely gone."""
        try:
            self._api.call("GET", f"{self._jobs}/{self._name}")
        except ApiError as error:
            return error.status == _NOT_FOUND
        return False

    def _failed_by(self) -> str:
        """Return why the Job is said to have failed, if it is."""
        try:
            conditions = self._api.call("GET", f"{self._jobs}/{self._name}").get("status", {}).get("conditions", [])
        except ApiError:
            return ""
        return next((str(one.get("reason", "")) for one in conditions if one.get("type") in _FAILED), "")

    def _watch(self, version: str) -> None:
        """Return as soon as something about the pods has changed, or after some seconds, or when asked to stop."""
        path = f"{self._pods}&watch=1&timeoutSeconds={_WATCH_SECONDS}&resourceVersion={urllib.parse.quote(version)}"
        changed = threading.Event()

        def wait() -> None:
            try:
                for _ in self._api.lines(path, timeout_seconds=_WATCH_SECONDS + 5):
                    break
            except ApiError:
                time.sleep(_PAUSE_SECONDS)
            finally:
                changed.set()

        threading.Thread(target=wait, daemon=True).start()
        asked = self._stopping.is_set()
        while not changed.wait(0.05):
            if self._stopping.is_set() and not asked:
                return

    def _wait(self, seconds: float) -> None:
        self._stopping.wait(seconds) if not self._stopping.is_set() else time.sleep(seconds)

    def _copy_log(self, pod: str) -> None:
        """Copy the pod's log as it is written; after a break, go on behind the last line that was seen."""
        since, seen_at_since = "", 0
        pods = f"/api/v1/namespaces/{urllib.parse.quote(self._namespace)}/pods"
        path = f"{pods}/{urllib.parse.quote(pod)}/log?follow=true&timestamps=true"
        while True:
            ended = self._ended.is_set()
            skip, resumes = seen_at_since, bool(since)
            query = f"&sinceTime={urllib.parse.quote(since)}" if since else ""
            try:
                for line in self._api.lines(path + query, timeout_seconds=_LOG_QUIET_SECONDS):
                    stamp, _, text = line.partition(b" ")
                    moment = stamp.decode("ascii", "replace")
                    if resumes and (moment < since or (moment == since and skip > 0)):
                        skip -= moment == since  # the API goes back to the whole second
                        continue
                    resumes = resumes and moment == since
                    seen_at_since = seen_at_since + 1 if moment == since else 1
                    since = moment
                    sys.stdout.buffer.write(text)
                    sys.stdout.buffer.flush()
            except ApiError:
                pass
            if ended:
                return
            self._ended.wait(_PAUSE_SECONDS)

    def _delete_quietly(self, grace_seconds: int) -> bool:
        try:
            delete(self._api, self._namespace, self._name, grace_seconds)
        except ApiError as error:
            return error.status == _NOT_FOUND
        return True


def main(arguments: list[str]) -> None:
    """Do what the arguments say: run, kill or signal, then the member's directory."""
    client = Client(Path(arguments[1]))
    match arguments[0]:
        case "run":
            code = client.run()
            sys.stdout.flush()
            os._exit(code)
        case "kill":
            sys.exit(client.kill())
        case "signal":
            sys.exit(1)  # Kubernetes knows no signals but the one that ends a pod
