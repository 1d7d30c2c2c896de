"""A running `perk serve`, for the scripts that ask one."""

import os
import signal
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def perk():
    """The program that PERK names, or else one that is built in the profile that PERK_PROFILE names."""
    if os.environ.get("PERK"):
        return Path(os.environ["PERK"]).resolve()
    profile = os.environ.get("PERK_PROFILE", "dev")
    subprocess.run(["cargo", "build", "--quiet", "--profile", profile], check=True, cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / {"dev": "debug"}.get(profile, profile) / "perk"


def make_checkpoint(folder):
    """A run of two steps of the quickstart."""
    run = folder / "run"
    settings = ["outer.steps=2", "outer.warmup_steps=1", "outer.episodes_per_step=1", "eval.episodes=1",
                "eval.episodes_during=1", "eval.multiples=[1]"]
    settings = [word for setting in settings for word in ("--set", setting)]
    command = [perk(), "--quiet", "meta-train", "--config", "configs/quickstart.toml", *settings, "--out", run]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return run


class Server:
    """`perk serve` at a port of its own, as long as it is in use."""

    def __init__(self, checkpoint, store, *more, token=None):
        environment = {key: value for key, value in os.environ.items() if key != "PERK_TOKEN"}
        if token:
            environment["PERK_TOKEN"] = token
        command = [perk(), "serve", "--port", "0", "--checkpoint", checkpoint, "--store", store, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        line = self.process.stdout.readline()
        if not line.startswith("listening at "):
            raise RuntimeError(f"perk serve does not listen: {line}")
        self.url = line.split()[-1]

    def resident_bytes(self):
        """Memory that the process holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=60) != 0:
            raise RuntimeError(f"perk serve ended with {self.process.returncode}")
