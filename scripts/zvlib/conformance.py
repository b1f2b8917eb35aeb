# SPDX-License-Identifier: MIT
"""Runs the zPCI conformance suite on zvisor and on QEMU, and says where they differ.

Each program of tests/guest/zpci prints TAP, one line for each check: its name, its grade
and what it expects. A check passes, fails, is not here (the machine lacks what it wants),
or is missing: the program did not come to it, since the machine died or hung.
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading

from zvlib import qmp, run

LINE = re.compile(r"(not )?ok \d+ - (\S+) \[([LQC])\] (.*?)(?: # SKIP (.*))?$")
PLAN = re.compile(r"1\.\.(\d+)$")
DIFFERENCES = os.path.join(run.ROOT, "tests/guest/zpci/qemu-differences")
DOCUMENT = os.path.join(run.ROOT, "docs/conformance.md")
REFERENCE = os.path.join(run.ROOT, "docs/zpci.md")
# How a program says that it wants what is not there.
ABSENT = "not here: "
BEGIN, END = "<!-- checks: begin -->", "<!-- checks: end -->"

TESTDEV = ["testdev,vectors=64,fid=7", "testdev,fid=8", "testdev,fid=9"]
# Machine versions that lack something of the newest.
OLDER = ["zvisor-0.9"]

RNG = "virtio-rng-pci,iommu_platform=on,disable-legacy=on"


class Program:
    """A program and the machine that it wants."""

    def __init__(self, name, devices=TESTDEV, functions=3, memory="64M", cpus=1, append="", more=(),
                 also=(), monitor=False, timeout=120):
        self.name, self.memory, self.cpus, self.append = name, memory, cpus, append
        self.devices, self.functions, self.more = devices, functions, list(more)
        # Arguments of further machines, which have what the first has not.
        # Does it ask for functions to come and go?
        self.also, self.monitor, self.timeout = also, monitor, timeout

    def kernel(self):
        return os.path.join(run.build_folder(), "tests/guest/zpci/zpci-" + self.name)

    def zvisor(self, version=None):
        """The commands for the newest machine, with what it can have or not, or for an older one as it is."""
        machines = [["--machine", version]] if version else [self.more, *self.also]
        return [run.zvisor_command(self.kernel(), append=self.append, memory=self.memory, cpus=self.cpus,
                                   devices=self.devices, more=more) for more in machines]

    def commands(self, machine, on):
        if machine.startswith("zvisor"):
            return self.zvisor(machine if machine in OLDER else None)
        return [self.elsewhere(on) if on else self.on_qemu()]

    def on_qemu(self):
        more = ["-cpu", "max", "-no-reboot"]
        for i in range(self.functions):
            more += ["-device", f"zpci,uid={i + 1},fid={i + 7},target=f{i}", "-device", f"{RNG},id=f{i}"]
        return run.qemu_command(self.kernel(), append=self.append, memory=self.memory, cpus=self.cpus, more=more)

    def elsewhere(self, command):
        return ["sh", "-c", command.format(kernel=shlex.quote(self.kernel()), append=shlex.quote(self.append),
                                           cpus=self.cpus, memory=self.memory)]


PROGRAMS = [
    Program("clp"),
    Program("identity", devices=["testdev,fid=7,addr=1.0,multifunction=on,util-string=AB", "testdev,fid=8,addr=1.1",
                                 "testdev,fid=9,pft=9,pchid=0x123"]),
    Program("loadstore"),
    Program("nobar"),
    Program("controls", devices=["testdev,vectors=64,fid=7,relaxed-translation=off"] + TESTDEV[1:]),
    Program("events"),
    Program("interrupts"),
    Program("delivery", devices=["testdev,vectors=2048,fid=7"], functions=1, cpus=4),
    Program("translation"),
    Program("direct"),
    Program("mio", also=[["--machine", "zvisor-1.0,mio=off"]]),
    Program("directed", cpus=2, more=["--machine", "zvisor-1.0,directed-interrupts=on"],
            also=[["--machine", "zvisor-1.0,directed-interrupts=off"]]),
    Program("hotplug", monitor=True),
    Program("states"),
    Program("matrix"),
    Program("testdev", devices=["testdev,vectors=2048"]),
    Program("unusual", devices=["testdev,fid=7,relaxed-store-block=on,dma-size=33554432"], functions=1),
    Program("reset"),
    Program("many", devices=["testdev,vectors=2,memory=4096"] * 4096, functions=24),
]


class Check:
    def __init__(self, program, name, grade, text):
        self.program, self.name, self.grade, self.text = program, name, grade, text
        self.results = {}


# What the host does when a program says "# host: …", by the machine's name.
PLUGGED = "plugged"
HOST = {
    "zvisor": {
        "plug": [("device_add", {"driver": "testdev", "id": PLUGGED, "fid": 12})],
        "plug in standby": [("device_add", {"driver": "testdev", "id": PLUGGED, "fid": 12, "standby": True})],
        "unplug": [("device_del", {"id": PLUGGED})],
        "remove": [("device_del", {"id": PLUGGED, "force": True})],
    },
    "QEMU": {
        "plug": [("device_add", {"driver": "zpci", "uid": 12, "fid": 12, "target": PLUGGED}),
                 ("device_add", {"driver": "virtio-rng-pci", "id": PLUGGED})],
        "unplug": [("device_del", {"id": PLUGGED})],
    },
}


class Host:
    """Does for a guest what only its host can, through QMP."""

    def __init__(self, machine, folder):
        self.actions = HOST[machine]
        self.path = qmp.socket_path(folder)
        self.arguments = ["--qmp", f"unix:{self.path}"] if machine == "zvisor" else \
            ["-qmp", f"unix:{self.path},server=on,wait=off"]
        self.client = None

    def heard(self, line):
        if not line.startswith("# host: "):
            return
        if not self.client:
            self.client = qmp.Client(self.path)
        for name, arguments in self.actions[line[8:]]:
            self.client.command(name, **arguments)

    def close(self):
        if self.client:
            self.client.close()


def execute(command, timeout, host=None):
    """What the guest said, and how the run ended in words; None: as it should."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    late = threading.Event()
    timer = threading.Timer(timeout, lambda: (late.set(), process.kill()))
    timer.start()
    lines, how = [], None
    try:
        for raw in process.stdout:
            line = raw.decode(errors="replace").replace("\r", "").rstrip("\n")
            lines.append(line)
            if host:
                host.heard(line)
    except (qmp.QmpError, qmp.Closed, OSError) as error:
        how = f"the monitor: {error}"
        process.kill()
    finally:
        process.wait()
        timer.cancel()
    if late.is_set():
        how = f"no end within {timeout} s"
    elif process.returncode < 0 and not how:
        how = f"the machine died of signal {-process.returncode}"
    text = "\n".join(lines)
    if not how:
        bail = re.search(r"^Bail out! (.*)$", text, re.M)
        if bail:
            how = bail[1]
        elif not any(PLAN.match(line) for line in text.splitlines()):
            how = "the program did not come to its end"
    return text, how


def execute_program(program, machine, command):
    if not program.monitor:
        return execute(command, program.timeout)
    machine = "zvisor" if machine in OLDER else machine
    if machine not in HOST:
        return "", ABSENT + "a host that plugs and unplugs functions"
    with tempfile.TemporaryDirectory() as folder:
        host = Host(machine, folder)
        try:
            return execute(command + host.arguments, program.timeout, host)
        finally:
            host.close()


def collect(checks, program, machine, command):
    """Run, and note the results under the machine's name. What went wrong, or None."""
    text, how = execute_program(program, machine, command)
    last = None
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            check = checks.setdefault(match[2], Check(program.name, match[2], match[3], match[4]))
            result = "fail" if match[1] else "not here" if match[5] else "pass"
            # A name that comes twice: a failure counts, then a pass.
            before = check.results.get(machine, {}).get("result")
            if before != "fail" and (before != "pass" or result == "fail"):
                check.results[machine] = {"result": result}
                if match[5]:
                    check.results[machine]["why"] = match[5]
            last = check if result == "fail" else None
        elif line.startswith("#   ") and last:
            last.results[machine].setdefault("notes", []).append(line[4:])
        elif line.startswith("# " + ABSENT):
            how = line[2:]
    return how


def differences():
    known = []
    with open(DIFFERENCES, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                known.append([part.strip() for part in line.split("|", 1)])
    return known


def explain(known, name):
    for pattern, why in known:
        if fnmatch.fnmatchcase(name, pattern):
            return why
    return None


def leave_out(checks, program, machine, why):
    """A program that wants what the machine does not have."""
    for check in checks:
        if check.program == program.name:
            check.results.setdefault(machine, {"result": "not here", "why": why})


def result_of(check, machine):
    return check.results.get(machine, {}).get("result", "missing")


def print_table(checks, machines, different):
    width = max((len(c.name) for c in checks), default=0)
    print(f"{'check':{width}}     " + " ".join(f"{m:10}" for m in machines))
    for check in checks:
        results = [result_of(check, m) for m in machines]
        if different and len(set(results)) == 1 and results[0] == "pass":
            continue
        print(f"{check.name:{width}} [{check.grade}] " + " ".join(f"{r:10}" for r in results).rstrip())
        for machine in machines:
            for note in check.results.get(machine, {}).get("notes", []):
                if result_of(check, machine) == "fail":
                    print(f"{'':{width}}     {machine}: {note}")


def document(checks, known, peer):
    rows = ["| check | expects | grade | QEMU 7.2 | why |", "|---|---|---|---|---|"]
    for check in checks:
        result = result_of(check, peer)
        why = check.results.get(peer, {}).get("why", "") if result == "not here" else \
            explain(known, check.name) or "" if result in ("fail", "missing") else ""
        rows.append(f"| `{check.name}` | {check.text} | {check.grade} | {result} | {why} |")
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n\n" + "\n".join(rows) + "\n\n" + END + after)


def unreferenced(checks):
    """What docs/zpci.md and the checks do not say of each other."""
    with open(REFERENCE, encoding="utf-8") as file:
        patterns = set(re.findall(r"`([a-z0-9-]+(?:[.*][a-z0-9.*-]*)?)`",
                                  "\n".join(line.split("|")[5] for line in file if line.count("|") == 6)))
    patterns.add("states.*")
    names = [check.name for check in checks]
    return ([f"no row in docs/zpci.md names {name}" for name in names if not explain([[p, p] for p in patterns], name)] +
            [f"docs/zpci.md names {p}, and there is no such check" for p in sorted(patterns)
             if not fnmatch.filter(names, p)])


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--no-qemu", action="store_true", help="on zvisor alone")
    parser.add_argument("--different", action="store_true", help="only the checks in which the machines differ")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/conformance.md")
    parser.add_argument("--on", metavar="COMMAND", help="a shell command that runs {kernel} elsewhere")
    parser.add_argument("--json", default=os.path.join(run.ROOT, "build/conformance.json"))
    parser.add_argument("program", nargs="*", help=", ".join(p.name for p in PROGRAMS))
    args = parser.parse_args()
    for name in args.program:
        if name not in [p.name for p in PROGRAMS]:
            parser.error(f"no such program: {name} (there are {', '.join(p.name for p in PROGRAMS)})")
    return args


def main():
    args = arguments()
    peer = "other" if args.on else "QEMU" if not args.no_qemu and run.qemu_program() else None
    machines = ["zvisor"] + OLDER + ([peer] if peer else [])
    programs = [p for p in PROGRAMS if not args.program or p.name in args.program]
    checks, ends = {}, []
    for program in programs:
        for machine in machines:
            for command in program.commands(machine, args.on):
                how = collect(checks, program, machine, command)
                if how and how.startswith(ABSENT):
                    leave_out(checks.values(), program, machine, how[len(ABSENT):])
                elif how:
                    ends.append({"program": program.name, "machine": machine, "how": how})
    checks = list(checks.values())
    print_table(checks, machines, args.different)
    for end in ends:
        print(f"{end['program']} on {end['machine']}: {end['how']}")

    print("grades: [L] required by Linux, [Q] shown by QEMU, [C] conjecture;"
          " docs/conformance.md says what each check expects")

    known = differences()
    counts = {m: {r: sum(result_of(c, m) == r for c in checks) for r in ("pass", "fail", "not here", "missing")}
              for m in machines}
    with open(args.json, "w", encoding="utf-8") as file:
        json.dump({"machines": machines, "counts": counts, "ends": ends,
                   "checks": [{"program": c.program, "name": c.name, "grade": c.grade, "expects": c.text,
                               "results": c.results} for c in checks]}, file, indent=1)
    if args.docs:
        document(checks, known, peer)
    if peer == "QEMU":
        for check in checks:
            if result_of(check, peer) in ("fail", "missing") and not explain(known, check.name):
                print(f"no explanation in tests/guest/zpci/qemu-differences: {check.name}")
            if check.grade == "Q" and result_of(check, peer) == "fail":
                print(f"graded Q, and this QEMU does otherwise: {check.name}")
    loose = [] if args.program else unreferenced(checks)
    for line in loose:
        print(line)
    for machine in machines:
        c = counts[machine]
        print(f"{machine}: {c['pass']} passed, {c['fail']} failed, {c['not here']} not here, {c['missing']} missing")
    ours = ["zvisor"] + OLDER
    wrong = sum(counts[m]["fail"] + counts[m]["missing"] for m in ours) + sum(e["machine"] in ours for e in ends)
    return 1 if wrong or loose or not counts["zvisor"]["pass"] else 0


if __name__ == "__main__":
    sys.exit(main())
