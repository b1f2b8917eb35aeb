# SPDX-License-Identifier: MIT
"""Models of instructions for which QEMU is no oracle: it does not know them, or
does them wrong. Each follows the text of the Principles of Operation, chapters 7
and 8, and is written to be read, not to be fast.

expect(case) returns a function of (case, outcome) that lists what is wrong, or
None where there is no model. A model changes a State; what it raises is the
program interruption that is due, with nothing changed.
"""
import struct

from cases import ARENA, ARENA_MAP, CODE, INTERRUPTIBLE, M64, PAGE


class Interruption(Exception):
    def __init__(self, event, completed=False, dxc=None):
        super().__init__(event)
        self.event, self.completed, self.dxc = event, completed, dxc


def bad_decimal():
    """A data exception; to Linux it is an illegal operand, as specification is."""
    return Interruption("invalid", dxc=0)


class State:
    """Registers and memory of a case before, then after, its instruction."""

    def __init__(self, case):
        self.case = case
        self.gr, self.ar, self.fpr = list(case.gr), list(case.ar), list(case.fpr)
        self.cc, self.fpc = case.cc, case.fpc
        self.pages, x = {}, case.seed | 1
        for n, kind in enumerate(ARENA_MAP):
            if kind == "-":
                continue
            words = []
            for _ in range(PAGE // 8):
                x ^= x >> 12
                x = (x ^ x << 25) & M64
                x ^= x >> 27
                words.append(x * 0x2545f4914f6cdd1d & M64)
            self.pages[ARENA // PAGE + n] = bytearray(struct.pack(f">{PAGE // 8}Q", *words))
        self.pages[CODE // PAGE] = bytearray(PAGE)
        for address, data in case.patches:
            page = self.pages[address // PAGE]
            page[address % PAGE:address % PAGE + len(data)] = data
        self.before = {n: bytes(page) for n, page in self.pages.items()}

    def wrap(self, address):
        return address & (0xffffff, 0x7fffffff, M64)[self.case.amode]

    def check(self, address, length, write=False):
        for k in range(length):
            page = self.wrap(address + k) // PAGE
            if page not in self.pages:
                raise Interruption("no page")
            if write and page == ARENA // PAGE + ARENA_MAP.index("r"):
                raise Interruption("protection")

    def load(self, address, length):
        self.check(address, length)
        return bytes(self.pages[self.wrap(address + k) // PAGE][(address + k) % PAGE]
                     for k in range(length))

    def store(self, address, data):
        self.check(address, len(data), True)
        for k, byte in enumerate(data):
            self.pages[self.wrap(address + k) // PAGE][(address + k) % PAGE] = byte

    def base(self, at):
        """The address that base and displacement in bytes at, at + 1 make."""
        raw = self.case.raw
        b = raw[at] >> 4
        return self.wrap((self.gr[b] if b else 0) + ((raw[at] & 15) << 8 | raw[at + 1]))

    def index(self, long, indexed=True):
        """The address of an RX or RXY (RS, RSY) operand."""
        raw = self.case.raw
        x = raw[1] & 15 if indexed else 0
        d = (raw[2] & 15) << 8 | raw[3]
        if long:
            d |= (raw[4] << 12) - (raw[4] >> 7 << 20)
        b = raw[2] >> 4
        return self.wrap((self.gr[b] if b else 0) + (self.gr[x] if x else 0) + d)

    def changed(self):
        """Address and new value of each byte that is not what it was."""
        out = {}
        for n, page in self.pages.items():
            if page != self.before[n]:
                for k, (a, b) in enumerate(zip(self.before[n], page)):
                    if a != b:
                        out[n * PAGE + k] = b
        return out


# ---- Packed decimal ----

def value(data):
    """Of packed decimal; a data exception if it is none."""
    text = data.hex()
    if not text[:-1].isdecimal() or text[-1] not in "abcdef":
        raise bad_decimal()
    n = int(text[:-1])
    return -n if text[-1] in "bd" else n


def negative(data):
    return data[-1] & 15 in (0xb, 0xd)


def packed(n, length, minus=None):
    """n in so many bytes, high digits cut off, preferred sign."""
    if minus is None:
        minus = n < 0
    text = str(abs(n)).rjust(2 * length - 1, "0")[-(2 * length - 1):]
    return bytes.fromhex(text + ("d" if minus else "c"))


def lengths(s):
    return (s.case.raw[1] >> 4) + 1, (s.case.raw[1] & 15) + 1


def store_decimal(s, address, n, length):
    """Stores a result and sets the condition code; overflow if it does not fit."""
    if abs(n) >= 10 ** (2 * length - 1):
        # The sign is that of the full result, even if what is left is zero.
        s.store(address, packed(n, length, n < 0))
        s.cc = 3
        return
    s.store(address, packed(n, length))
    s.cc = 0 if n == 0 else 1 if n < 0 else 2


def ap(s):
    l1, l2 = lengths(s)
    a1, a2 = s.base(2), s.base(4)
    s.check(a1, l1, True)
    d1, d2 = s.load(a1, l1), s.load(a2, l2)
    x, y = value(d1), value(d2)
    store_decimal(s, a1, x - y if s.case.insn.name == "sp" else x + y, l1)


def zap(s):
    l1, l2 = lengths(s)
    a1, a2 = s.base(2), s.base(4)
    data = s.load(a2, l2)
    s.check(a1, l1, True)
    store_decimal(s, a1, value(data), l1)


def cp(s):
    l1, l2 = lengths(s)
    d1, d2 = s.load(s.base(2), l1), s.load(s.base(4), l2)
    x, y = value(d1), value(d2)
    s.cc = 0 if x == y else 1 if x < y else 2


def mp(s):
    l1, l2 = lengths(s)
    if l2 > 8 or l2 >= l1:
        raise Interruption("invalid")
    a1, a2 = s.base(2), s.base(4)
    s.check(a1, l1, True)
    d1, d2 = s.load(a1, l1), s.load(a2, l2)
    x, y = value(d1), value(d2)
    if any(d1[:l2]):
        raise bad_decimal()
    # The rules of algebra make the sign, even of a zero.
    s.store(a1, packed(x * y, l1, negative(d1) != negative(d2)))


def dp(s):
    l1, l2 = lengths(s)
    if l2 > 8 or l2 >= l1:
        raise Interruption("invalid")
    a1, a2 = s.base(2), s.base(4)
    s.check(a1, l1, True)
    d1, d2 = s.load(a1, l1), s.load(a2, l2)
    x, y = value(d1), value(d2)
    if y == 0 or abs(x) // abs(y) >= 10 ** (2 * (l1 - l2) - 1):
        raise Interruption("divide")
    s.store(a1, packed(abs(x) // abs(y), l1 - l2, negative(d1) != negative(d2)) +
            packed(abs(x) % abs(y), l2, negative(d1)))


def srp(s):
    l1, i3 = (s.case.raw[1] >> 4) + 1, s.case.raw[1] & 15
    a1, shift = s.base(2), s.base(4) & 63
    s.check(a1, l1, True)
    n = value(s.load(a1, l1))
    if i3 > 9:
        raise bad_decimal()
    if shift < 32:
        result = n * 10 ** shift
    else:
        shift = 64 - shift
        result = (abs(n) + i3 * 10 ** (shift - 1)) // 10 ** shift
        result = -result if n < 0 else result
    store_decimal(s, a1, result, l1)


def cvb(s):
    name, raw = s.case.insn.name, s.case.raw
    wide = name == "cvbg"
    n = value(s.load(s.index(name != "cvb"), 16 if wide else 8))
    r1 = raw[1] >> 4
    if wide:
        if not -(1 << 63) <= n < 1 << 63:
            raise Interruption("divide")
        s.gr[r1] = n & M64
        return
    s.gr[r1] = s.gr[r1] & ~0xffffffff | n & 0xffffffff
    if not -(1 << 31) <= n < 1 << 31:
        raise Interruption("divide", completed=True)


def cvdg(s):
    r1 = s.case.raw[1] >> 4
    n = s.gr[r1] - (s.gr[r1] >> 63 << 64)
    s.store(s.index(True), packed(n, 16))


def edit(s):
    """ED, EDMK: digits of the source for the pattern's selectors."""
    length = s.case.raw[1] + 1
    a1, a2 = s.base(2), s.base(4)
    s.check(a1, length, True)
    pattern = bytearray(s.load(a1, length))
    fill, significant, nonzero, source, half = pattern[0], False, False, a2, None
    mark = None
    s.cc = 0
    for k, byte in enumerate(pattern):
        if byte in (0x20, 0x21):
            plus = minus = False
            if half is None:
                pair = s.load(source, 1)[0]
                source += 1
                digit, half = pair >> 4, pair & 15
                if digit > 9:
                    raise bad_decimal()
                if half > 9:
                    plus, minus, half = half not in (0xb, 0xd), half in (0xb, 0xd), None
            else:
                digit, half = half, None
            was = significant
            if digit or was:
                pattern[k] = 0xf0 | digit
                if digit and not was:
                    mark = s.wrap(a1 + k)
            else:
                pattern[k] = fill
            if digit:
                significant, nonzero = True, True
            if byte == 0x21:
                significant = True
            if plus:
                significant = False
        elif byte == 0x22:
            significant, nonzero, pattern[k] = False, False, fill
        elif not significant:
            pattern[k] = fill
    s.store(a1, bytes(pattern))
    s.cc = (1 if significant else 2) if nonzero else 0
    if s.case.insn.name == "edmk" and mark is not None:
        keep = (0xffffff, 0x7fffffff, M64)[s.case.amode]
        if s.case.amode == 0:
            s.gr[1] = s.gr[1] & ~keep | mark
        elif s.case.amode == 1:
            s.gr[1] = s.gr[1] & ~0xffffffff | mark
        else:
            s.gr[1] = mark


def unpk(s):
    l1, l2 = lengths(s)
    a1, a2 = s.base(2), s.base(4)
    s.check(a1, l1, True)
    s.check(a2, l2)
    # Right to left, a byte at a time, so that overlaps come out as they must.
    source, dest = a2 + l2 - 1, a1 + l1 - 1
    byte = s.load(source, 1)[0]
    s.store(dest, bytes((byte >> 4 | (byte & 15) << 4,)))
    high = None
    for dest in range(a1 + l1 - 2, a1 - 1, -1):
        if high is not None:
            digit, high = high, None
        elif source > a2:
            source -= 1
            byte = s.load(source, 1)[0]
            digit, high = byte & 15, byte >> 4
        else:
            digit = 0
        s.store(dest, bytes((0xf0 | digit,)))


def pka(s):
    wide = s.case.insn.name == "pku"
    l2 = s.case.raw[1] + 1
    a1, a2 = s.base(2), s.base(4)
    if l2 > (64 if wide else 32) or wide and l2 & 1:
        raise Interruption("invalid")
    data = s.load(a2, l2)
    digits = [byte & 15 for byte in (data[1::2] if wide else data)][-31:]
    nibbles = [0] * (31 - len(digits)) + digits + [0xc]
    s.store(a1, bytes(nibbles[i] << 4 | nibbles[i + 1] for i in range(0, 32, 2)))


def unpka(s):
    wide = s.case.insn.name == "unpku"
    l1 = s.case.raw[1] + 1
    a1, a2 = s.base(2), s.base(4)
    if l1 > (64 if wide else 32) or wide and l1 & 1:
        raise Interruption("invalid")
    text = s.load(a2, 16).hex()
    digits = [int(c, 16) for c in text[:-1]]
    n = l1 // 2 if wide else l1
    digits = ([0] * n + digits)[-n:]
    s.store(a1, b"".join(bytes((0, 0x30 | d) if wide else (0x30 | d,)) for d in digits))
    sign = text[-1]
    s.cc = 0 if sign in "acef" else 1 if sign in "bd" else 3


# ---- Binary floating point: products that are wider than their factors ----

FORMATS = {4: (8, 23), 8: (11, 52), 16: (15, 112)}


def unpack(bits, size):
    """Sign, kind, and as the kind has it: (integer, exponent) or the fraction."""
    exponent_bits, fraction_bits = FORMATS[size]
    sign = bits >> 8 * size - 1
    exponent = bits >> fraction_bits & (1 << exponent_bits) - 1
    fraction = bits & (1 << fraction_bits) - 1
    if exponent == (1 << exponent_bits) - 1:
        if not fraction:
            return sign, "infinity", None
        return sign, "quiet" if fraction >> fraction_bits - 1 else "signalling", fraction
    if exponent == 0:
        exponent = 1
    else:
        fraction |= 1 << fraction_bits
    bias = (1 << exponent_bits - 1) - 1
    return sign, "number" if fraction else "zero", (fraction, exponent - bias - fraction_bits)


def widened_product(bits1, bits2, size):
    """The product in twice the size, always exact; and whether it is invalid."""
    exponent_bits, fraction_bits = FORMATS[2 * size]
    top = (1 << exponent_bits) - 1
    widening = fraction_bits - FORMATS[size][1]
    s1, kind1, v1 = unpack(bits1, size)
    s2, kind2, v2 = unpack(bits2, size)
    for want in ("signalling", "quiet"):
        for sign, kind, fraction in ((s1, kind1, v1), (s2, kind2, v2)):
            if kind == want:
                return (sign << 16 * size - 1 | top << fraction_bits |
                        1 << fraction_bits - 1 | fraction << widening), want == "signalling"
    sign = (s1 ^ s2) << 16 * size - 1
    if "infinity" in (kind1, kind2):
        if "zero" in (kind1, kind2):
            return top << fraction_bits | 1 << fraction_bits - 1, True
        return sign | top << fraction_bits, False
    if "zero" in (kind1, kind2):
        return sign, False
    n, exponent = v1[0] * v2[0], v1[1] + v2[1]
    shift = fraction_bits + 1 - n.bit_length()
    n, exponent = n << shift, exponent - shift
    biased = exponent + fraction_bits + (top >> 1)
    return sign | biased << fraction_bits | n & (1 << fraction_bits) - 1, False


def multiply_wide(s):
    """MDEB(R), MXDB(R)."""
    name, raw = s.case.insn.name, s.case.raw
    size = 4 if name.startswith("mde") else 8
    register = name.endswith("br")
    r1 = raw[3] >> 4 if register else raw[1] >> 4
    if size == 8 and r1 & 2:
        raise Interruption("invalid")
    if register:
        second = s.fpr[raw[3] & 15] >> (32 if size == 4 else 0)
    else:
        second = int.from_bytes(s.load(s.index(False), size), "big")
    product, invalid = widened_product(s.fpr[r1] >> (32 if size == 4 else 0), second, size)
    if invalid:
        if s.case.fpc & 0x80000000:
            raise Interruption("data", dxc=0x80)
        s.fpc |= 0x00800000
    if size == 4:
        s.fpr[r1] = product
    else:
        s.fpr[r1], s.fpr[r1 + 2] = product >> 64, product & M64


# ---- Others ----


def larl(s):
    raw = s.case.raw
    r1 = raw[1] >> 4
    address = s.wrap(s.case.at + 2 * int.from_bytes(raw[2:], "big", signed=True))
    s.gr[r1] = address if s.case.amode == 2 else s.gr[r1] & ~0xffffffff | address


def trte(s):
    """TRTE, TRTRE: the first character with a function code that is not zero."""
    raw = s.case.raw
    m3, r1, r2 = raw[2] >> 4, raw[3] >> 4, raw[3] & 15
    wide, wide_function, limit = m3 & 8, m3 & 4, m3 & 2
    width = 2 if wide else 1
    if r1 & 1:
        raise Interruption("invalid")
    length = s.gr[r1 + 1] if s.case.amode == 2 else s.gr[r1 + 1] & 0xffffffff
    if wide and length & 1:
        raise Interruption("invalid")
    step = -width if s.case.insn.name == "trtre" else width
    address, code, table = s.wrap(s.gr[r1]), 0, s.wrap(s.gr[1])
    while length:
        argument = int.from_bytes(s.load(address, width), "big")
        if not (wide and limit and argument > 255):
            if wide_function:
                code = int.from_bytes(s.load(table + 2 * argument, 2), "big")
            else:
                code = s.load(table + argument, 1)[0]
        if code:
            break
        address, length = address + step, length - width
    s.cc = 1 if code else 0
    if s.case.amode == 2:
        s.gr[r1], s.gr[r1 + 1], s.gr[r2] = s.wrap(address), length, code
    else:
        s.gr[r1] = s.gr[r1] & ~0xffffffff | s.wrap(address)
        s.gr[r1 + 1] = s.gr[r1 + 1] & ~0xffffffff | length
        s.gr[r2] = s.gr[r2] & ~0xffffffff | code


def lmd(s):
    raw = s.case.raw
    n, a2, a4 = raw[1] >> 4, s.base(2), s.base(4)
    count = ((raw[1] & 15) - n & 15) + 1
    high, low = s.load(a2, 4 * count), s.load(a4, 4 * count)
    for k in range(count):
        s.gr[n + k & 15] = int.from_bytes(high[4 * k:4 * k + 4] + low[4 * k:4 * k + 4], "big")


def lpd(s):
    width = 8 if s.case.insn.name == "lpdg" else 4
    r3, a1, a2 = s.case.raw[1] >> 4, s.base(2), s.base(4)
    if r3 & 1 or a1 % width or a2 % width:
        raise Interruption("invalid")
    for r, a in ((r3, a1), (r3 + 1, a2)):
        v = int.from_bytes(s.load(a, width), "big")
        s.gr[r] = v if width == 8 else s.gr[r] & ~0xffffffff | v
    s.cc = 0


def stmh(s):
    r1, r3 = s.case.raw[1] >> 4, s.case.raw[1] & 15
    count = (r3 - r1 & 15) + 1
    s.store(s.index(True, False), b"".join(
        (s.gr[r1 + k & 15] >> 32).to_bytes(4, "big") for k in range(count)))


def quad(s):
    r1, a = s.case.raw[1] >> 4, s.index(True)
    if r1 & 1 or a % 16:
        raise Interruption("invalid")
    if s.case.insn.name == "lpq":
        s.gr[r1], s.gr[r1 + 1] = struct.unpack(">QQ", s.load(a, 16))
    else:
        s.store(a, struct.pack(">QQ", s.gr[r1], s.gr[r1 + 1]))


def rotate_then(s):
    """RNSBG, ROSBG, RXSBG."""
    raw = s.case.raw
    r1, r2, i3, i4, shift = raw[1] >> 4, raw[1] & 15, raw[2], raw[3] & 63, raw[4] & 63
    test, i3 = i3 & 0x80, i3 & 63
    second = (s.gr[r2] << shift | s.gr[r2] >> 64 - shift) & M64
    mask, bit = 0, i3
    while True:
        mask |= 1 << 63 - bit
        if bit == i4:
            break
        bit = bit + 1 & 63
    first, name = s.gr[r1], s.case.insn.name
    result = {"rnsbg": first & second, "rosbg": first | second, "rxsbg": first ^ second}[name]
    s.cc = 1 if result & mask else 0
    if not test:
        s.gr[r1] = first & ~mask | result & mask


def cpya(s):
    s.ar[s.case.raw[3] >> 4] = s.ar[s.case.raw[3] & 15]


def csst(s):
    raw = s.case.raw
    r3, a1, a2 = raw[1] >> 4, s.base(2), s.base(4)
    fc, sc = s.gr[0] & 0xff, s.gr[0] >> 8 & 0xff
    if fc > 2 or sc > 4 or fc == 2 and r3 & 1:
        raise Interruption("invalid")
    n1, n2 = 4 << fc, 1 << sc
    plist = s.wrap(s.gr[1]) & ~15
    if a1 % n1 or a2 % n2:
        raise Interruption("invalid")
    s.check(a1, n1, True)
    s.check(a2, n2, True)
    replacement, stored = s.load(plist, n1), s.load(plist + 16, n2)
    first = s.load(a1, n1)
    if fc == 2:
        third = struct.pack(">QQ", s.gr[r3], s.gr[r3 + 1])
    else:
        third = s.gr[r3].to_bytes(8, "big")[8 - n1:]
    if first == third:
        s.store(a1, replacement)
        s.store(a2, stored)
        s.cc = 0
        return
    s.cc = 1
    if fc == 2:
        s.gr[r3], s.gr[r3 + 1] = struct.unpack(">QQ", first)
    elif fc == 1:
        s.gr[r3] = int.from_bytes(first, "big")
    else:
        s.gr[r3] = s.gr[r3] & ~0xffffffff | int.from_bytes(first, "big")


MODELS = {
    "ap": ap, "sp": ap, "zap": zap, "cp": cp, "mp": mp, "dp": dp, "srp": srp,
    "cvb": cvb, "cvby": cvb, "cvbg": cvb, "cvdg": cvdg, "ed": edit, "edmk": edit,
    "unpk": unpk, "pka": pka, "pku": pka, "unpka": unpka, "unpku": unpka,
    "trte": trte, "trtre": trte, "lmd": lmd, "lpd": lpd, "lpdg": lpd, "lpq": quad,
    "stpq": quad, "rnsbg": rotate_then, "rosbg": rotate_then, "rxsbg": rotate_then,
    "cpya": cpya, "csst": csst, "stmh": stmh, "larl": larl,
    "mdeb": multiply_wide, "mdebr": multiply_wide, "mxdb": multiply_wide,
    "mxdbr": multiply_wide,
}


def compare(case, ours):
    s = State(case)
    event, place = "end", len(case.code) + 2
    try:
        MODELS[case.insn.name](s)
    except Interruption as interruption:
        event = interruption.event
        done = interruption.completed
        place = 0 if event in ("no page", "protection") else case.length
        if not done:
            s = State(case)
        if interruption.dxc is not None:
            s.fpc = s.fpc & ~0xff00 | interruption.dxc << 8
    if s.cc == 3 and event == "end" and case.program_mask & 4 and \
            case.insn.name in ("ap", "sp", "zap", "srp"):
        event, place = "overflow", case.length
    out = []
    if event != ours.event:
        return [f"event: {event} / {ours.event}"]
    if event in ("no page", "protection") and case.insn.name in INTERRUPTIBLE:
        return []
    if ours.address != case.start + place:
        out.append(f"address: {case.start + place:#x} / {ours.address:#x}")
    if s.fpc != ours.fpc:
        out.append(f"fpc: {s.fpc:#x} / {ours.fpc:#x}")
    if s.cc != ours.cc:
        out.append(f"cc: {s.cc} / {ours.cc}")
    for name in ("gr", "ar", "fpr"):
        for n, (a, b) in enumerate(zip(getattr(s, name), getattr(ours, name))):
            if a != b:
                out.append(f"{name}{n}: {a:#x} / {b:#x}")
    want = s.changed()
    got = {}
    for address, length, data in ours.memory[:-1]:
        for k in range(min(length, len(data))):
            page = s.before.get((address + k) // PAGE)
            if page is None or page[(address + k) % PAGE] != data[k]:
                got[address + k] = data[k]
    if want != got:
        at = sorted(a for a in set(want) | set(got) if want.get(a) != got.get(a))
        out.append("memory: " + ", ".join(
            f"{a:#x} {want.get(a, -1):x}/{got.get(a, -1):x}" for a in at[:8]))
    return out


def expect(case):
    return compare if case.insn.name in MODELS else None
