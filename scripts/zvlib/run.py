# SPDX-License-Identifier: MIT
"""Runs a machine, zvisor's or its peer's, and waits for what the guest says on its console.

Nothing here sleeps and hopes: every wait names what it waits for and how long at most,
and what fails says how the console ended.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class RunError(Exception):
    """A machine that did not do what was waited for."""


def build_folder():
    """Where the build is; ZVISOR_BUILD names another one than build/."""
    return os.path.abspath(os.environ.get("ZVISOR_BUILD") or os.path.join(ROOT, "build"))


def zvisor_program():
    return os.path.join(build_folder(), "src", "zvisor")


def wrapper():
    """What runs a zvisor that was built for another host: ZVISOR_WRAPPER="qemu-s390x-static -L /usr/s390x-linux-gnu"."""
    return shlex.split(os.environ.get("ZVISOR_WRAPPER", ""))


def zvisor_command(kernel, initrd=None, append="", memory="1G", cpus=1, devices=(), stats=False, more=()):
    command = [*wrapper(), zvisor_program(), "run", "--kernel", kernel]
    if initrd:
        command += ["--initrd", initrd]
    if append:
        command += ["--append", append]
    command += ["--memory", memory, "--cpus", str(cpus)]
    for device in devices:
        command += ["--device", device]
    if stats:
        command.append("--stats")
    return command + list(more)


def qemu_program():
    return shutil.which("qemu-system-s390x")


def qemu_command(kernel, initrd=None, append="", memory="1G", cpus=1, more=()):
    """The same machine as far as QEMU has it: VT220 console on standard input and output."""
    command = [qemu_program(), "-machine", "s390-ccw-virtio,accel=tcg", "-nodefaults", "-display", "none",
               "-chardev", "stdio,id=console,mux=off,signal=off", "-device", "sclpconsole,chardev=console",
               "-m", memory, "-smp", str(cpus), "-kernel", kernel]
    if initrd:
        command += ["-initrd", initrd]
    if append:
        command += ["-append", append]
    return command + list(more)


class Machine:
    """A running machine with its console on pipes.

    Everything that it prints is collected by threads of its own, so that the machine
    never waits for whoever waits for it.
    """

    def __init__(self, command, stdin=subprocess.PIPE, env=None, **more):
        self.command = command
        self.started = time.monotonic()
        self._change = threading.Condition()
        self._text = {"stdout": b"", "stderr": b""}
        self._open = {"stdout", "stderr"}
        self._seen = 0
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=env, bufsize=0, **more)
        self._threads = [threading.Thread(target=self._collect, args=(name,), daemon=True)
                         for name in ("stdout", "stderr")]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _collect(self, name):
        stream = getattr(self.process, name)
        while True:
            data = os.read(stream.fileno(), 1 << 16)
            with self._change:
                if data:
                    self._text[name] += data
                else:
                    self._open.discard(name)
                self._change.notify_all()
            if not data:
                return

    @property
    def console(self):
        """What the guest has said so far; the console ends lines with CR LF."""
        with self._change:
            return self._text["stdout"].decode(errors="replace").replace("\r", "")

    @property
    def errors(self):
        with self._change:
            return self._text["stderr"].decode(errors="replace")

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def expect(self, pattern, limit):
        """Waits, at most `limit` seconds, until the console has said something new that matches.

        A pattern that ends in "$" wants its line finished. Returns the match; what is
        waited for next is looked for behind it.
        """
        deadline = time.monotonic() + limit
        compiled = re.compile(pattern, re.M)
        with self._change:
            while True:
                # One character a byte, so that the place reached stays the same
                # when the rest of a longer character comes in.
                text = self._text["stdout"].decode("latin-1").replace("\r", "")
                end = text.rfind("\n") + 1 if pattern.endswith("$") else len(text)
                found = compiled.search(text, self._seen, end)
                if found:
                    self._seen = found.end()
                    return found
                left = deadline - time.monotonic()
                if "stdout" not in self._open:
                    raise RunError(f"the machine ended before saying '{pattern}'{self._how_it_ended()}")
                if left <= 0:
                    raise RunError(f"nothing on the console matched '{pattern}' within {limit} s"
                                   + self._last_lines())
                self._change.wait(left)

    def wait(self, limit):
        """Waits, at most `limit` seconds, for the end; returns the exit status."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise RunError(f"the machine did not end within {limit} s{self._last_lines()}") from None
        for thread in self._threads:
            thread.join(10)
        return status

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        for thread in self._threads:
            thread.join(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def stats(self):
        """The numbers that zvisor --stats prints at its end, {name: number}."""
        found = re.search(r"^zvisor: stats: (.*)$", self.errors, re.M)
        if not found:
            return {}
        return {name: float(value) for name, value in re.findall(r"([a-z_-]+)=([0-9.]+)", found.group(1))}

    def _how_it_ended(self):
        # The pipe closes a moment before the process can be waited for.
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            status = "none yet"
        return f"; exit status {status}" + self._last_lines()

    def _last_lines(self):
        # Called with the lock held (wait() has no need of it: Condition's lock is recursive).
        said = []
        for name in ("stdout", "stderr"):
            lines = self._text[name].decode(errors="replace").replace("\r", "").strip().split("\n")
            said += [f"    {name}: {line}" for line in lines[-15:] if line]
        return "\n" + "\n".join(said) if said else "; it said nothing"
