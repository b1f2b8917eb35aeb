# SPDX-License-Identifier: MIT
"""Adds up what the test runners counted: meson's logs, pytest's and the conformance suite's, into one last line.

A program of many tests (cmocka's or TAP) counts with each of them.
"""

import json
import os
import re
import sys
import xml.etree.ElementTree


def of_meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            output = test.get("stdout", "") + test.get("stderr", "")
            good = len(re.findall(r"^\[ +OK \]|^ok \d+(?!.*# SKIP)", output, re.M))
            bad = len(re.findall(r"^\[ +FAILED +\] (?!tests)\S+$|^not ok \d+", output, re.M))
            left = len(re.findall(r"^\[ +SKIPPED +\] (?!\d+ test)\S+$|^ok \d+.*# SKIP", output, re.M))
            if test["result"] == "SKIP":
                good, bad, left = 0, 0, max(left, 1)
            elif test["result"] not in ("OK", "EXPECTEDFAIL"):
                # A crash or a time-out may leave no line of its own.
                bad = max(bad, 1)
            elif not good:
                good = 1
            passed, failed, skipped = passed + good, failed + bad, skipped + left
    return passed, failed, skipped


def of_pytest(path):
    root = xml.etree.ElementTree.parse(path).getroot()
    tests = failed = skipped = 0
    for suite in root.iter("testsuite"):
        tests += int(suite.get("tests"))
        failed += int(suite.get("failures")) + int(suite.get("errors"))
        skipped += int(suite.get("skipped"))
    return tests - failed - skipped, failed, skipped


def of_conformance(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    ours = {machine: counts for machine, counts in report["counts"].items() if machine.startswith("zvisor")}
    ends = sum(end["machine"] in ours for end in report["ends"])
    passed, failed, absent = (sum(counts[result] for counts in ours.values())
                              for result in ("pass", "fail", "not here"))
    return passed, failed + ends, absent


def main():
    totals = [0, 0, 0]
    for path in sys.argv[1:]:
        if os.path.exists(path):
            if os.path.basename(path) == "conformance.json":
                counts = of_conformance(path)
            else:
                counts = of_meson(path) if path.endswith(".json") else of_pytest(path)
            totals = [a + b for a, b in zip(totals, counts)]
    passed, failed, skipped = totals
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
