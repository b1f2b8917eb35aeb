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


def unscaled(case, oracle, ours):
    return (ours.event == "data" and dxc(ours) & 0x30 and dxc(oracle) & 0x30 and
            oracle.fpc | 0xc00 == ours.fpc | 0xc00 and
            same_but(oracle, ours, "fpc", "fpr", "cc"))


def quieted(case, oracle, ours):
    return oracle.fpc | 0x00800000 == ours.fpc or dxc(ours) == 0x80


def invalid_and_inexact(case, oracle, ours):
    return (ours.fpc & 0x00880000 == 0x00880000 and oracle.fpc | 0x00080000 == ours.fpc and
            same_but(oracle, ours, "fpc"))


def narrow(case, oracle, ours):
    mask = 0xffffff if case.amode == 0 else 0x7fffffff
    # QEMU finds no page there; else the code page's zeros are executed.
    behind = (0, 2) if oracle.event == "no page" else (0,)
    return (case.amode != 2 and ours.address - (oracle.address & mask) in behind and
            oracle.gr == ours.gr and ours.memory[-1] == 0)


def nan(bits):
    return bits >> 52 & 0x7f8 == 0x7f8


def not_numbers(case, oracle, ours):
    return same_but(oracle, ours, "fpr") and all(
        a == b or nan(a) and nan(b) for a, b in zip(oracle.fpr, ours.fpr))


def zero_times_infinity(case, oracle, ours):
    """The default NaN and the invalid flag, or its trap; QEMU keeps the addend's NaN."""
    if not (nan(case.fpr[(case.raw[4] if case.raw[0] == 0xed else case.raw[2]) >> 4]) and
            oracle.fpc & 0x00800000 == case.fpc & 0x00800000):
        return False
    if ours.event == "data":
        return dxc(ours) == 0x80 and ours.fpr == case.fpr
    return ours.fpc == oracle.fpc | 0x00800000 and all(
        a == b or nan(a) and b >> 32 in (0x7fc00000, 0x7ff80000)
        for a, b in zip(oracle.fpr, ours.fpr))


def either_operand(case, oracle, ours):
    faults = ("no page", "protection")
    return oracle.event in faults and ours.event in faults and ours.memory[-1] == 0


def protected_page(case, oracle, ours):
    return (case.gr[0] & 0x100 and ours.event == "protection" and oracle.event == "end" and
            oracle.cc == 1)


def keyed(case, oracle, ours):
    return ours.event == "privileged" and case.gr[0] & 0xc00


def tiny(case, oracle, ours):
    return (oracle.event == "end" and ours.event == "data" and dxc(ours) == 0x10 and
            case.fpc & 0x10000000)


def invalid_then_inexact(case, oracle, ours):
    return (oracle.event == "end" and dxc(ours) == 0x08 and ours.fpc & 0x00800000 and
            oracle.fpc | 0x0800 == ours.fpc | 0x0800 and oracle.gr == ours.gr)


def invalid_only(case, oracle, ours):
    return dxc(ours) == 0x80 and dxc(oracle) == 0x88 and same_but(oracle, ours, "fpc")


def unchecked(case, oracle, ours):
    return ours.event == "invalid" and oracle.event in (
        "end", "no page", "protection", "data")


def odd_target(case, oracle, ours):
    """Of EXECUTE: QEMU executes what is there, so anything may come of it."""
    x, b = case.raw[1] & 15, case.raw[2] >> 4
    address = (case.gr[x] if x else 0) + (case.gr[b] if b else 0) + case.raw[3]
    return address & 1 and ours.event == "invalid"


def first_length(case):
    """The length in the odd register of an RRE or RRF instruction's first pair."""
    value = case.gr[(case.raw[3] >> 4) + 1 & 15]
    return value if case.amode == 2 else value & 0xffffffff


def no_length(case, oracle, ours):
    return first_length(case) == 0 and ours.event == "end" and ours.cc == 0


def checked_utf8(case, oracle, ours):
    return (case.raw[2] & 0x10 and oracle.cc == 2 and ours.event == "end" and
            any(b in data for _, data in case.patches for b in (0xf1, 0xf2, 0xf3)))


def short_length(case, oracle, ours):
    return (case.amode != 2 and case.gr[(case.raw[3] & 15) + 1 & 15] >> 32 and
            oracle.event == "no page")


def stored_before_fault(case, oracle, ours):
    return (ours.event in ("no page", "protection") and ours.memory[-1] == 0 and
            same_but(oracle, ours, "memory"))


def loaded_before_fault(case, oracle, ours):
    return (ours.event == "no page" and ours.gr == case.gr and ours.ar == case.ar and
            same_but(oracle, ours, "gr", "ar"))


def address_cleared(case, oracle, ours):
    bits = (0xffffff, 0xffffffff, 0)[case.amode]
    return case.amode != 2 and same_but(oracle, ours, "gr") and all(
        a == b or (b >> 32 == c >> 32 and (a ^ b) & bits in (0, 0x80000000))
        for a, b, c in zip(oracle.gr, ours.gr, case.gr))


def odd(case, oracle, ours):
    return ours.address & 1 and ours.event == "invalid"


def not_needed(case, oracle, ours):
    return "no page" in (ours.event, oracle.event) and "end" in (ours.event, oracle.event)


def wide_table(case, oracle, ours):
    return case.amode != 2 and ours.event == "end" and oracle.event == "no page"


TO_FIXED = tuple(f"c{logical}{size}{number}br" for logical in ("", "l")
                 for size in "fg" for number in "edx")

BEFORE = "PoP chapter 5, Operand Access: suppressed or nullified, nothing has changed"

ROWS = [
    (("stam", "stamy", "stcm", "stcmy", "stcmh", "stm", "stmg", "stmy", "stmh", "tr",
      "ex", "exrl"),
     stored_before_fault, BEFORE),
    (("icm", "icmy", "icmh", "lam", "lamy", "lm", "lmg", "lmy", "lmh"),
     loaded_before_fault, BEFORE),
    (("la", "lay", "lae", "laey", "larl", "ex", "exrl"), address_cleared, "PoP LOAD "
     "ADDRESS: outside the 64-bit mode bits 0-31 stay as they are"),
    (None, odd, "PoP Specification Exception: an odd instruction address stays in the PSW"),
    (("clc", "clm", "clmy", "clmh"), not_needed, "PoP COMPARE LOGICAL: access not "
     "predictable to the right of the first unequal byte"),
    (("loc", "locg", "stoc", "stocg"), not_needed, "PoP LOAD ON CONDITION: not predictable "
     "when the condition is not met"),
    (("tre",), wide_table, "PoP TRANSLATE EXTENDED in the 24-bit and 31-bit modes; QEMU takes "
     "64 bits of the table's address"),
    (("troo", "trot", "trto", "trtt", "tre"), no_length, "PoP TRANSLATE ONE TO ONE: a "
     "length of zero is condition code 0 at once; QEMU goes on until something stops it"),
    (("cu12", "cu14"), checked_utf8, "PoP CONVERT UTF-8 TO UTF-32: after F1 to F3 "
     "the second byte may be 80 to BF; QEMU takes the range of F0 or F4"),
    (("cksm",), short_length, "PoP CHECKSUM: in the 24-bit and 31-bit modes the length "
     "is 32 bits"),
    (("ex",), odd_target, "PoP EXECUTE: an odd address is a specification exception"),
    (("clst", "mvclu", "clclu", "cdsg"), unchecked, "PoP COMPARE LOGICAL STRING: bits "
     "32-55 of register 0 zero; MOVE LONG UNICODE: even lengths; COMPARE DOUBLE AND SWAP: "
     "even registers; else specification"),
    (("lhrl", "lghrl", "llhrl", "llghrl", "lrl", "lgrl", "lgfrl", "llgfrl", "strl", "stgrl",
      "sthrl", "crl", "cgrl", "cgfrl", "clrl", "clgrl", "clgfrl", "chrl", "cghrl", "clhrl",
      "clghrl"), unchecked, "PoP LOAD RELATIVE LONG: an operand on its boundary, else "
     "specification"),
    (("ldxbr", "lexbr"), unchecked, "PoP LOAD ROUNDED: R1, too, is a register pair (GNU as "
     "says so as well)"),
    (("mvpg",), protected_page, "PoP MOVE PAGE: the condition-code option is for page "
     "translation; protection stays an exception"),
    (("mvpg",), keyed, "PoP MOVE PAGE: a key in register 0 wants authority"),
    (("balr", "basr", "bcr", "bctr", "bctgr", "ex", "exrl"), narrow, "PoP Address Generation: a branch "
     "address has 24 or 31 bits in those modes; QEMU 7.2 takes all"),
    (("maeb", "maebr", "madb", "madbr", "mseb", "msebr", "msdb", "msdbr"), not_numbers,
     "PoP figure 19-23, MULTIPLY AND ADD: which of several NaNs is the result"),
    (("maeb", "maebr", "madb", "madbr", "mseb", "msebr", "msdb", "msdbr"), zero_times_infinity,
     "PoP figure 19-23, MULTIPLY AND ADD: infinity times zero is the default NaN, whatever "
     "is added"),
    (("tr", "csst", "ex", "exrl"), either_operand, "PoP chapter 6, Multiple Program-Interruption "
     "Conditions: which of two operands' access exceptions is not said"),
    (("ltebr", "ltdbr", "ltxbr"), quieted, "PoP LOAD AND TEST: a signalling NaN is an "
     "invalid operation and becomes quiet; QEMU only tests"),
    (TO_FIXED, invalid_and_inexact, "PoP figure 19-20, CONVERT TO FIXED: out of range is "
     "inexact too"),
    (TO_FIXED, invalid_then_inexact, "PoP figure 19-20, CONVERT TO FIXED: out of range is "
     "inexact too"),
    (None, tiny, "PoP chapter 9, IEEE Underflow: with the trap enabled a tiny result is "
     "enough, exact or not"),
    (TO_FIXED, invalid_only, "PoP Data-Exception Code: 80 for an invalid operation"),
    (None, unscaled, "PoP chapter 19, IEEE overflow and underflow trap: the result is "
     "scaled; QEMU stores none"),
    (None, overflow_ignored, OVERFLOW),
]


def find(case, oracle, ours):
    for names, test, source in ROWS:
        if (names is None or case.insn.name in names) and test(case, oracle, ours):
            return source
    return None
