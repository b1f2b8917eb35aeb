# SPDX-License-Identifier: MIT
"""The console on a pipe, on nothing, and on a terminal."""

import hashlib
import os
import signal
import subprocess
import termios
import time

import pexpect
import pytest

from conftest import BOOT_LIMIT, finish
from zvlib import run


def test_what_is_typed_reaches_the_guest(boot):
    machine = boot("say ready; read line; say got $line")
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    machine.send("hello there\n")
    machine.expect("^zvisor-guest: got hello there$", BOOT_LIMIT)
    finish(machine)


def test_much_input_at_once_arrives_whole(boot):
    lines = 200
    text = "".join(f"line {i} {'y' * 90}\n" for i in range(lines))
    machine = boot(f"stty -echo; say ready; say sum $(head -n {lines} | sha256sum)")
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    machine.send(text)
    machine.expect(f"^zvisor-guest: sum {hashlib.sha256(text.encode()).hexdigest()} ", BOOT_LIMIT)
    finish(machine)


def test_much_output_arrives_whole_and_in_order(boot):
    machine = finish(boot("seq 1 60000"))
    numbers = [int(line) for line in machine.console.split("\n") if line.isdigit()]
    assert numbers == list(range(1, 60001))


@pytest.mark.parametrize("console", ["ttyS0", "ttyS1"])
def test_the_line_mode_and_the_vt220_console_both_print(boot, console):
    machine = finish(boot("say printed; seq 1 300", append=f"quiet console={console}"))
    assert "zvisor-guest: printed\n" in machine.console
    assert "\n299\n300\n" in machine.console


def test_input_from_nothing_is_no_trouble(boot):
    finish(boot("say ready", stdin=subprocess.DEVNULL))


def test_closed_input_is_no_trouble(command):
    argv = command("say ready; sleep 1")
    with run.Machine(["sh", "-c", 'exec "$@" <&-', "sh", *argv], stdin=None) as machine:
        finish(machine)


def test_input_that_ends_leaves_the_guest_running(boot):
    machine = boot("say ready; sleep 1; say still here")
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    machine.process.stdin.close()
    machine.expect("^zvisor-guest: still here$", BOOT_LIMIT)
    finish(machine)


class Terminal:
    """A shell on a terminal that runs zvisor and says how it ended; the terminal's modes can be read."""

    def __init__(self, argv):
        # The shell waits for a line, so that zvisor does not begin before the modes were read.
        self.child = pexpect.spawn("/bin/sh", ["-c", 'read go; "$@"; echo "status $?"; read line', "sh", *argv],
                                   timeout=BOOT_LIMIT, encoding="utf-8", codec_errors="replace", echo=True)
        self.before = self.modes()
        self.child.sendline("")

    def modes(self):
        return termios.tcgetattr(self.child.child_fd)

    def is_raw(self):
        return not self.modes()[3] & (termios.ICANON | termios.ECHO)


@pytest.fixture
def terminal(command):
    """Starts a guest with a shell on a terminal."""
    terminals = []

    def start(script, **more):
        terminals.append(Terminal(command(script, **more)))
        return terminals[-1]
    yield start
    for one in terminals:
        one.child.close(force=True)


def test_the_terminal_is_raw_while_the_guest_has_it_and_restored_after(terminal):
    it = terminal(None, append="quiet")
    it.child.expect("zvisor-guest: shell")
    it.child.expect("# ")
    assert it.is_raw()
    # A control-C is the guest's: it ends sleep, not zvisor.
    # What is expected is not in the echo: the shell has given the terminal to its commands.
    it.child.send("echo be''gun; sleep 1000\r")
    it.child.expect("begun")
    time.sleep(1)
    it.child.send("\x03")
    it.child.expect("# ")
    it.child.send("echo $((6 * 7)) is the answer\r")
    it.child.expect("42 is the answer")
    it.child.send("exit\r")
    it.child.expect("status 0\r\n")
    assert it.modes() == it.before


def test_control_a_x_ends_the_run(terminal):
    it = terminal("say ready; sleep 1000")
    it.child.expect("zvisor-guest: ready")
    it.child.send("\x01x")
    it.child.expect(r"status \d+\r\n", timeout=20)
    assert it.modes() == it.before


def test_control_a_twice_is_the_guests(terminal):
    it = terminal("stty raw -echo; say ready; say typed $(dd bs=1 count=1 2>/dev/null | od -An -tx1); stty sane")
    it.child.expect("zvisor-guest: ready")
    it.child.send("\x01\x01")
    it.child.expect("zvisor-guest: typed 01")
    it.child.expect("status 0\r\n")


def test_the_terminal_is_restored_when_the_guest_crashes(terminal):
    it = terminal("echo c >/proc/sysrq-trigger", append="quiet panic=0")
    it.child.expect("status 3\r\n")
    assert it.modes() == it.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
                         ids=["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_terminal_is_restored_when_a_signal_ends_the_run(terminal, number):
    it = terminal("say ready; sleep 1000")
    it.child.expect("zvisor-guest: ready")
    assert it.is_raw()
    # The shell's only child is zvisor.
    with open(f"/proc/{it.child.pid}/task/{it.child.pid}/children", encoding="ascii") as children:
        pid = int(children.read().split()[0])
    os.kill(pid, number)
    it.child.expect(r"status \d+\r\n", timeout=20)
    assert it.modes() == it.before


def test_a_signal_that_comes_twice_at_once_is_one_request(boot):
    machine = boot("say ready; sleep 1000")
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    # As timeout(1) does it: first the process, then its group. Two that wait are one, so
    # the second follows when the first has been taken.
    machine.process.send_signal(signal.SIGTERM)
    while machine.process.poll() is None and is_pending(machine.process.pid, signal.SIGTERM):
        pass
    machine.process.send_signal(signal.SIGTERM)
    assert machine.wait(60) == 0


def is_pending(pid, number):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        masks = [int(line.split()[1], 16) for line in status if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
