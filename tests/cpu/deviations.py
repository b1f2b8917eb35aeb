# SPDX-License-Identifier: MIT
"""Where the oracle is wrong, or is silent, and by which source.

Each row: mnemonics, a test of (case, oracle's outcome, the soft CPU's outcome),
and the source. A difference for which a row's test is true is counted, not
reported. PoP is the Principles of Operation, SA22-7832-13.
"""

OVERFLOW = ("PoP Fixed-Point-Overflow Exception: QEMU has none, whatever the mask")


def overflow_ignored(case, oracle, ours):
    return (case.program_mask & 8 and ours.event == "overflow" and oracle.event == "end"
            and oracle.gr == ours.gr and ours.cc == 3 == oracle.cc)




def dxc(outcome):
    return outcome.fpc >> 8 & 0xff


def same_but(oracle, ours, *what):
    """Everything agrees but the attributes named."""
    return all(getattr(oracle, n) == getattr(ours, n)
               for n in ("event", "address", "cc", "gr", "fpr", "ar", "memory", "fpc",
                         "program_mask", "amode") if n not in what)


def not_incremented(case, oracle, ours):
    return (ours.event == "data" and dxc(ours) & 0x0c == 0x0c and
            oracle.fpc | 0x400 == ours.fpc and same_but(oracle, ours, "fpc", *(
                ("fpr",) if dxc(ours) & 0x30 else ())))


def unscaled(case, oracle, ours):
    return (ours.event == "data" and dxc(ours) & 0x30 and dxc(oracle) & 0x30 and
            same_but(oracle, ours, "fpc", "fpr", "cc"))


ROWS = [
    (None, not_incremented, "PoP figure 6-2: data-exception code 0C, 1C, 2C, result "
     "incremented; QEMU has only the truncated ones"),
    (None, unscaled, "PoP chapter 19, IEEE overflow and underflow trap: the result is "
     "scaled; QEMU stores none"),
    (None, overflow_ignored, OVERFLOW),
]


def find(case, oracle, ours):
    for names, test, source in ROWS:
        if (names is None or case.insn.name in names) and test(case, oracle, ours):
            return source
    return None
