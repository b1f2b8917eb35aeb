# SPDX-License-Identifier: MIT
"""Models of instructions for which the oracle is no oracle: QEMU does not know
them. Each follows the text of the Principles of Operation, chapter 7 or 8.

expect(case) returns a function of (case, outcome) that lists what is wrong, or
None where there is no model.
"""


def expect(case):
    return None
