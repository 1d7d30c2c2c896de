#!/usr/bin/env python3
"""Asks `perk serve` by several clients at once for some minutes: errors, memory, and tokens a second beside one client.

    load_server.py --checkpoint DIR [--clients 8] [--minutes 10] [--tokens 32] [--memories 3] [ARGUMENTS OF perk serve]

Two thirds of the requests ask memories of data/story/story.txt, cut differently, a third the base; every twentieth comes
from a client that leaves in the middle of its answer, and every fortieth is no request at all. perk is what PERK names, or
built by cargo in the profile that PERK_PROFILE names (`release`). Needs nothing but Python. The exit code is 1 if any answer was an error,
or if memory grew by more than a tenth after the first fifth of the time.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("PERK_PROFILE", "release")

from lib.perk_server import Server  # noqa: E402

STORY = (Path(__file__).parent.parent / "data/story/story.txt").read_text()


class Client:
    """Asks one request after another over one connection."""

    def __init__(self, server, models, tokens, seed):
        self.address, self.models, self.tokens = server.url.removeprefix("http://"), models, tokens
        self.random, self.connection = random.Random(seed), None
        self.written, self.times, self.errors = 0, [], []

    def call(self, method, path, body=None):
        """Status and bytes of an answer."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=300)
        self.connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def leave(self, body):
        """Begins to read a stream, and goes."""
        connection = http.client.HTTPConnection(self.address, timeout=300)
        connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}),
                           {"Content-Type": "application/json"})
        connection.getresponse().read(64)
        connection.close()

    def ask(self):
        """One request."""
        model = self.random.choice(self.models)
        body = {"model": model, "prompt": "Mary went to the", "max_tokens": self.tokens, "temperature": 1,
                "seed": self.random.randrange(1 << 30)}
        kind = self.random.random()
        if kind < 0.05:
            return self.leave(body)
        if kind < 0.075:
            status, _ = self.call("POST", "/v1/completions", "{" * self.random.randrange(1, 100))
            return None if status == 400 else self.errors.append(f"nonsense was answered with {status}")
        began = time.monotonic()
        status, answer = self.call("POST", "/v1/completions", json.dumps(body))
        if status != 200:
            return self.errors.append(f"{status}: {answer[:200]}")
        self.times.append(time.monotonic() - began)
        self.written += json.loads(answer)["usage"]["completion_tokens"]

    def run(self, until):
        """Asks until a time."""
        while time.monotonic() < until:
            try:
                self.ask()
            except OSError as fault:
                self.errors.append(repr(fault))
                self.connection = None


def together(server, models, tokens, clients, secs):
    """Tokens a second, the clients, and the memory of the server, once a second."""
    clients = [Client(server, models, tokens, seed) for seed in range(clients)]
    until = time.monotonic() + secs
    threads = [threading.Thread(target=client.run, args=(until,)) for client in clients]
    [thread.start() for thread in threads]
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(server.resident_bytes())
        time.sleep(1)
    return sum(client.written for client in clients) / secs, clients, memory


def memorise(server, count):
    """Names of memories."""
    client, names = Client(server, [], 0, 0), []
    for number in range(count):
        body = json.dumps({"text": STORY[number:], "name": f"story {number}"})
        names.append(json.loads(client.call("POST", "/v1/memories", body)[1])["id"])
        while json.loads(client.call("GET", f"/v1/memories/{names[-1]}")[1])["status"] != "ready":
            time.sleep(0.05)
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--memories", type=int, default=3)
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as room:
        with Server(options.checkpoint.resolve(), Path(room) / "adapters", *more) as server:
            names = memorise(server, options.memories)
            models = names + ["base"] * max(1, len(names) // 2)
            alone, _, _ = together(server, models, options.tokens, 1, min(60, options.minutes * 6))
            rate, clients, memory = together(server, models, options.tokens, options.clients, options.minutes * 60)
    errors = [error for client in clients for error in client.errors]
    times = sorted(secs for client in clients for secs in client.times)
    early, late = max(memory[: len(memory) // 5 + 1]), max(memory)
    print(f"{len(times)} answers to {options.clients} clients in {options.minutes} minutes, {len(errors)} errors")
    print(f"tokens a second: one client {alone:.0f}, {options.clients} clients {rate:.0f}: {rate / alone:.2f} times")
    print(f"an answer of {options.tokens} tokens: median {statistics.median(times) * 1e3:.0f} ms, "
          f"99 of 100 within {times[len(times) * 99 // 100] * 1e3:.0f} ms")
    print(f"memory: {early / 1e6:.0f} MB in the first fifth, {late / 1e6:.0f} MB at most")
    for error in errors[:5]:
        print(error, file=sys.stderr)
    sys.exit(1 if errors or late > 1.1 * early else 0)


if __name__ == "__main__":
    main()
