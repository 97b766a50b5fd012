"""What every client's calls share: runs from the control plane, and the lines of the report.

Speaks to the control plane with the standard library alone, so that no SDK can help another.
"""

import json
import os
import time
import traceback
import urllib.request

DATA = os.environ["RUNGATE_DATA"]
CONTROL = os.environ["RUNGATE_CONTROL"]
REPORT = os.environ["CONFORMANCE_REPORT"]
HELLO = "Say hello."
TOOL_PROMPT = "Please call a tool."
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def ask(method, path, body=None):
    """One request to the control plane."""
    request = urllib.request.Request(
        CONTROL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "authorization": "Bearer " + os.environ["ADMIN_TOKEN"],
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Run:
    """A run of the gateway."""

    def __init__(self, **fields):
        made = ask("POST", "/runs", {"cost_limit_usd": "5", "status": "running", **fields})
        self.id, self.key = made["run_id"], made["token"]

    def usage(self):
        return ask("GET", f"/runs/{self.id}/usage")

    def close(self):
        return ask("POST", f"/runs/{self.id}/close", {"mode": "drain", "wait_seconds": 10})

    def until(self, holds):
        """The usage, once `holds` is true of it; it lags behind the answers by moments."""
        deadline = time.monotonic() + 10
        while not holds(usage := self.usage()):
            assert time.monotonic() < deadline, f"usage stayed {usage}"
            time.sleep(0.05)
        return usage

    def refused(self, code, times):
        """Holds that the run was refused this often, for this reason and no other."""
        usage = self.until(lambda usage: usage["refusals"].get(code, 0) >= times)
        time.sleep(0.3)  # A retry too many would come within this time.
        usage = self.usage()
        assert usage["refusals"] == {code: times}, usage["refusals"]

    def attempts(self, times):
        """Holds that the provider was asked this often, failures included."""
        deadline = time.monotonic() + 10
        while len(calls := ask("GET", f"/runs/{self.id}/calls")["data"]) < times:
            assert time.monotonic() < deadline, calls
            time.sleep(0.05)
        time.sleep(0.3)
        calls = ask("GET", f"/runs/{self.id}/calls")["data"]
        assert len(calls) == times, calls

    def left(self):
        """Holds that the one call whose client went away is charged by what was made."""
        self.attempts(1)
        call = ask("GET", f"/runs/{self.id}/calls")["data"][0]
        assert call["status"] == 499 and float(call["cost_usd"]) > 0, call


class Client:
    """A client's report."""

    def __init__(self, name):
        self.name = name
        self.run = Run()

    def call(self, what, function):
        """Calls `function` and writes down how it went."""
        try:
            function()
            result = "ok"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[1]
            said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            result = f"line {place.lineno}: {said}"
        with open(REPORT, "a", encoding="utf-8") as report:
            report.write(f"{self.name}\t{what}\t{result}\n")

    def charged(self):
        """The last line: the run of this client's calls has spent, and its bill is final."""

        def spent():
            bill = self.run.close()
            assert bill["settlement"] == "final", bill
            assert float(bill["spent_usd"]) > 0, bill

        self.call("charged", spent)


def raises(kind, function, status=None):
    """Holds that `function` raises what `except kind` catches, and returns it."""
    try:
        function()
    except Exception as error:
        assert isinstance(error, kind), f"{type(error).__name__} instead of {kind.__name__}: {error}"
        if status is not None:
            assert error.status_code == status, error.status_code
        return error
    raise AssertionError(f"nothing was raised instead of {kind.__name__}")
