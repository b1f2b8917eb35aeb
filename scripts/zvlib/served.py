# SPDX-License-Identifier: MIT
"""A device that a process of its own serves, by vfio-user."""

import signal
import subprocess
import threading

from zvlib import run


class Server:
    """`zvisor device`, which is listening when this has been made."""

    def __init__(self, device, socket, more=()):
        self.socket = socket
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen([run.zvisor_program(), "device", f"{device},socket={socket}",
                                         *more],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        self.wait_for("waiting for a client")

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.lines.append("(end)")
            self.changed.notify_all()

    def wait_for(self, text, limit=60):
        with self.changed:
            assert self.changed.wait_for(
                lambda: any(text in line or line == "(end)" for line in self.lines), limit), self.lines
            assert any(text in line for line in self.lines), self.lines

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.thread.join()
        self.process.stderr.close()
