# SPDX-License-Identifier: MIT
"""A client of the QEMU Machine Protocol, as zvisor and QEMU speak it at a UNIX socket."""

import json
import os
import socket
import time


class QmpError(Exception):
    """A command that was answered by an error; `error_class` is the protocol's."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.error_class = error["class"]
        self.text = error["desc"]


class Closed(Exception):
    """The other end has closed the connection."""


class Client:
    """One connection. Events that come in between are kept in `events`."""

    def __init__(self, path, limit=60, negotiate=True):
        self.events = []
        self._limit = limit
        self._rest = b""
        self.socket = self._connect(path, limit)
        self.greeting = self.receive()
        if negotiate:
            self.command("qmp_capabilities")

    @staticmethod
    def _connect(path, limit):
        deadline = time.monotonic() + limit
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, text):
        """Sends a text, bytes, or an object as JSON."""
        if not isinstance(text, (str, bytes)):
            text = json.dumps(text) + "\n"
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def receive(self, limit=None):
        """The next line that the other end says."""
        deadline = time.monotonic() + (limit or self._limit)
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the monitor says nothing")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed()
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def reply(self, limit=None):
        """The next line that is not an event."""
        while True:
            message = self.receive(limit)
            if "event" not in message:
                return message
            self.events.append(message)

    def command(self, name, **arguments):
        """Executes a command, whose arguments may have "_" for "-"; returns its result."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.send(request)
        answer = self.reply()
        if "error" in answer:
            raise QmpError(answer["error"])
        return answer["return"]

    def wait_event(self, name, limit=None, **data):
        """The oldest event of this name and with these data that was not waited for yet."""
        deadline = time.monotonic() + (limit or self._limit)
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no event {name} {data or ''}; there were "
                                   + (", ".join(event["event"] for event in self.events) or "none"))
            message = self.receive(left)
            if "event" in message:
                self.events.append(message)


def socket_path(folder, name="qmp"):
    return os.path.join(folder, f"{name}.sock")
