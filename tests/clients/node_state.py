"""What the node says of itself, and where it is."""

import os
import time
import urllib.request

BASE = os.environ["POTLUCK_BASE"]
KEY = os.environ["POTLUCK_KEY"]
MODEL = os.environ["POTLUCK_MODEL"]


def running():
    """How many requests are answered at present."""
    request = urllib.request.Request(
        BASE + "/metrics", headers={"authorization": "Bearer " + KEY}
    )
    with urllib.request.urlopen(request) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("potluck_requests_running "):
                return int(line.split()[1])
    raise AssertionError("no such number")


def await_idle():
    """Waits until nothing is computed."""
    until = time.time() + 60
    while running() > 0:
        assert time.time() < until, "the answer goes on without its client"
        time.sleep(0.02)


def refused(kind, call):
    """The error of this kind with which a call fails."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind} was not raised")
