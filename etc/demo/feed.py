# SPDX-License-Identifier: Apache-2.0
#
# What the simulated feeds of the demo have in common: a minute of history first, at full speed, then
# events as time goes by, posted as NDJSON over one kept connection.
import http.client
import json
import sys
import time
import urllib.parse

HISTORY_S = 60
SLICE_S = 0.2


class Feed:
    """Posts to one stream of the server at `url`, under a source name of its own."""

    def __init__(self, url, stream):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10)
        self.path = f"/api/v1/streams/{stream}/events"
        self.headers = {
            "Content-Type": "application/x-ndjson",
            "Weir-Source": f"demo-{stream}",
        }

    def post(self, events):
        """Returns when the server has taken the events; repeats them when it is too busy."""
        body = "".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) + "\n" for e in events)
        while True:
            self.connection.request("POST", self.path, body.encode(), self.headers)
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.status in (429, 503):
                time.sleep(float(answer.getheader("Retry-After", "1")))
                continue
            if answer.status != 200:
                sys.exit(f"{self.path}: {answer.status} {text.decode(errors='replace')}")
            rejected = json.loads(text).get("rejected", 0)
            if rejected:
                sys.exit(f"{self.path}: {rejected} events rejected: {text.decode()}")
            return


def run(stream, step):
    """Calls step(begin, end), seconds since 1970, for slice after slice of time, and posts the events
    that it returns. A step of a second while there is history to make up for, shorter ones later."""
    feed = Feed(sys.argv[1], stream)
    at = time.time() - HISTORY_S
    try:
        while True:
            behind = time.time() - at
            if behind < SLICE_S:
                time.sleep(SLICE_S - behind)
                continue
            end = at + min(behind, 1.0)
            events = step(at, end)
            if events:
                feed.post(events)
            at = end
    except (KeyboardInterrupt, ConnectionError, http.client.HTTPException):
        pass  # the demo is over


def ms(seconds):
    return int(seconds * 1000)
