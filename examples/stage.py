"""What the scenarios of the systems share: hosts that they start and stop, and checks that are printed
as they go. Handlers and producers know nothing of it."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

WORK = Path(os.environ["WORK"])
HANDLERS = Path(os.environ["HANDLERS"])
# Two busy cores may take a minute to compile a handler in Python.
PATIENCE = 180
RUNNING = []


def say(line):
    print(line, flush=True)


def check(what, found, expected):
    """Prints what was found, and ends the scenario if it is something else than expected."""
    if found != expected:
        fail(f"{what}: {found!r}, not {expected!r}")
    say(f"  ok: {what}: {found}")


def fail(why):
    say(f"  FAILED: {why}")
    for program in RUNNING:
        say(f"--- the last lines of {program.log}")
        say("\n".join(program.log.read_text().splitlines()[-15:]))
    sys.exit(1)


def eventually(what, look):
    """Waits until `look` returns something true, and returns that."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        if found := look():
            return found
        time.sleep(0.05)
    fail(f"waited in vain: {what}")


def run(*command, env=None):
    """Runs a command to its end, which must be a good one; what it prints."""
    command, pipe = list(map(str, command)), subprocess.PIPE
    ended = subprocess.run(command, stdout=pipe, stderr=pipe, text=True, env=env)
    if ended.returncode != 0:
        fail(f"{' '.join(command)}: {ended.stderr or ended.stdout}")
    return ended.stdout


class Program:
    """A program that runs until it is stopped, or the scenario ends. What it says is in a file."""

    def __init__(self, name, command, **env):
        self.name = name
        self.log = WORK / f"{name}.log"
        self.env = {**os.environ, **env}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, env=self.env
            )
        RUNNING.append(self)

    def stop(self):
        """In good order: it finishes what it has begun."""
        self.end(signal.SIGTERM)

    def kill(self):
        """At once."""
        self.end(signal.SIGKILL)

    def end(self, by):
        if self in RUNNING:
            RUNNING.remove(self)
            self.process.send_signal(by)
            self.process.wait(PATIENCE)


class Host(Program):
    """`wabbit run`, with these handlers (all of the system unless named), and a data folder of its own
    name. `config` is a file beside the scenario. Its admin address is a free one unless stated."""

    def __init__(self, name, handlers=None, config="wabbit.toml", admin="127.0.0.1:0", **env):
        plugins = HANDLERS
        if handlers is not None:
            plugins = WORK / f"{name}-plugins"
            plugins.mkdir(exist_ok=True)
            for file in (HANDLERS / f"{it}{end}" for it in handlers for end in (".toml", ".wasm")):
                shutil.copy(file, plugins)
        env.setdefault("WABBIT_DATA_DIR", str(WORK / f"{name}-data"))
        log = WORK / f"{name}.log"
        self.begins = log.stat().st_size if log.exists() else 0
        flags = ["--config", config, "--log-format", "json"]
        command = ["wabbit", *flags, "run", "--plugins", plugins, "--admin", admin]
        super().__init__(name, command, **env)

    def lines(self):
        """What it has logged since it was started this time."""
        with self.log.open() as log:
            log.seek(self.begins)
            return [json.loads(line) for line in log if line.startswith("{") and line.endswith("\n")]

    @property
    def admin(self):
        def address():
            if self.process.poll() is not None:
                fail(f"{self.name} ended")
            return next((it["address"] for it in self.lines() if "/livez" in it["message"]), None)

        return eventually(f"the admin address of {self.name}", address)

    def get(self, path):
        """The status and the body of the answer of its admin address."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self):
        """Waits until it consumes all queues of its handlers."""
        eventually(f"{self.name} is ready", lambda: self.get("/readyz")[0] == 200)
        return self

    def metric(self, name, *labels):
        """The sum of a metric over the series that have all these labels (`plugin="orders"`)."""
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics")[1].splitlines())
        mine = (it for it in lines if it[0].split("{")[0] == name and all(l in it[0] for l in labels))
        return sum(float(value) for _, value in mine)

    def wait_idle(self):
        """Waits until everything is processed: asked of the only host on these queues."""
        run("wabbit", "wait-idle", "--timeout", f"{PATIENCE}s", "--admin", self.admin, env=self.env)


@atexit.register
def end_all():
    for program in list(RUNNING):
        program.kill()


def ask_to_end(_signal, _frame):
    sys.exit(1)


signal.signal(signal.SIGTERM, ask_to_end)
