# SPDX-License-Identifier: MIT
"""Cases of the differential CPU test: random, but aware of the format.

make(insn, key) builds one case for an instruction from a seed that is a string,
so that a failure is made again from its name alone. Registers, operands and
their places come from lists of what instructions stumble over: extremes,
overlaps, page ends before a page that is missing or read-only, NaNs, bad
decimal digits. Field names are those of the formats in the Principles of
Operation, chapter 5.
"""
import random
import struct

# The arena of case.h.
ARENA = 0x800000
ARENA_MAP = "wwww-wwr-"
PAGE = 4096
CODE = 0x900000
MAGIC = 0x43415345
M64 = (1 << 64) - 1


class Insn:
    def __init__(self, opcode, fmt, name):
        self.opcode, self.format, self.name = opcode, fmt, name


def instructions(path):
    table = []
    for line in open(path, encoding="ascii"):
        fields, _, why = line.partition("#")
        if fields.strip() and not why:
            table.append(Insn(*fields.split()))
    return table


# ---- What memory operands look like ----

WIDTH = {}
for width, names in {
    1: "ic icy stc stcy llc llgc lb lgb lbh llch stch tm tmy mvi mviy ni niy oi oiy "
       "xi xiy cli cliy ts",
    2: "lh lhy lgh llh llgh ch chy cgh ah ahy sh shy mh mhy sth sthy lrvh strvh lhh "
       "llhh sthh mvhhi chhsi clhhsi lhrl lghrl llhrl llghrl sthrl chrl cghrl "
       "clhrl clghrl",
    4: "l ly lt st sty n ny o oy x xy cl cly c cy a ay s sy m mfy d al aly sl sly ms "
       "msy le ley ste stey lgf llgf llgt agf sgf algf slgf msgf dsgf cgf clgf ltgf "
       "lrv strv ml dl alc slb lfh stfh chf clhf asi alsi mvhi chsi clfhsi loc stoc "
       "laa laal lan lao lax cs csy lrl lgfrl llgfrl strl crl cgfrl clrl clgfrl lpd "
       "ldeb lxeb mxdb-x keb ceb aeb seb mdeb deb maeb mseb sqeb meeb stfpc lfpc lfas "
       "lde",
    16: "lpq stpq cdsg",
}.items():
    for mnemonic in names.split():
        WIDTH[mnemonic] = width

# Operands that must lie on their natural boundary.
ALIGNED = set("cs csy csg cds cdsy cdsg lpq stpq laa laal lan lao lax laag laalg "
              "lang laog laxg lrl lgfrl llgfrl strl crl cgfrl clrl clgfrl lgrl stgrl "
              "cgrl clgrl lhrl lghrl llhrl llghrl sthrl chrl cghrl clhrl clghrl lpd "
              "lpdg plo csst ".split())
PAIRS = set("mr dr m d mfy mlr ml dlr dl mlgr mlg dlgr dlg dsgr dsg dsgf dsgfr srdl "
            "sldl srda slda mvcl clcl mvcle clcle mvclu clclu cds cdsy cdsg lpq stpq "
            "flogr cksm tre cu12 cu14 cu21 cu24 cu41 cu42 trtt trto trot troo trte "
            "trtre".split())
NO_ACCESS = set("la lay lae laey pfd sll srl sla sra sldl srdl slda srda sllg srlg "
                "slag srag sllk srlk slak srak rll rllg".split())
BRANCH_X = set("bc bct bal bas bctg bxh bxle bxhg bxleg".split())
SHIFTS = set("sll srl sla sra sldl srdl slda srda sllg srlg slag srag sllk srlk slak "
             "srak rll rllg".split())
# Interrupted in the middle, they may have done any part; only that they stopped,
# and why, is defined (Principles of Operation, "Interruptible Instructions").
INTERRUPTIBLE = set("mvcl clcl mvcle clcle mvclu clclu mvst clst srst srstu cksm tre "
                    "cu12 cu14 cu21 cu24 cu41 cu42 trtt trto trot troo trte trtre "
                    "cuse".split())
# Of these, those that end with condition code 3 when they have done a part.
PARTIAL = INTERRUPTIBLE - {"mvcl", "clcl"}


class Case:
    """The state to start from, under construction."""

    def __init__(self, insn, key):
        self.insn, self.key = insn, key
        self.rng = random.Random(key)
        self.gr = [self.integer() for _ in range(16)]
        self.ar = [self.rng.getrandbits(32) for _ in range(16)]
        self.fpr = [0] * 16
        self.cc = self.rng.randrange(4)
        self.program_mask = 8 if self.rng.random() < 0.03 else 0
        self.amode = self.rng.choices((2, 1, 0), (85, 10, 5))[0]
        self.fpc = self.make_fpc()
        self.seed = self.rng.getrandbits(64)
        self.start = CODE + self.rng.randrange(0x100, 0xc00, 2)
        self.patches = []
        self.pinned = set()

    # ---- values ----

    def integer(self):
        r = self.rng
        kind = r.randrange(8)
        if kind == 0:
            return r.getrandbits(64)
        if kind == 1:
            return r.choice((0, 1, M64, 1 << 63, (1 << 63) - 1, 0x7fffffff, 0x80000000,
                             0xffffffff, 0x100000000, 0xffffffff80000000,
                             0xffffffff7fffffff, 0x7fffffffffffffff, 0x7fff, 0x8000))
        if kind == 2:
            return r.randrange(0, 70)
        if kind == 3:
            return -r.randrange(0, 70) & M64
        if kind == 4:
            return (1 << r.randrange(64)) + r.randrange(-1, 2) & M64
        if kind == 5:
            return r.getrandbits(r.randrange(1, 65))
        if kind == 6:
            return (r.choice((0, M64 >> 32, 0x80000000, 0x7fffffff)) << 32 |
                    r.choice((0, M64 >> 32, 0x80000000, 0x7fffffff, 1)))
        return r.getrandbits(32) | r.choice((0, 0xffffffff00000000))

    def make_fpc(self):
        r = self.rng
        masks = r.getrandbits(5) if r.random() < 0.3 else 0
        flags = r.getrandbits(5) if r.random() < 0.3 else 0
        dxc = r.choice((0, 8, 0x80)) if r.random() < 0.1 else 0
        mode = r.choice((0, 0, 0, 1, 2, 3, 7))
        return masks << 27 | flags << 19 | dxc << 8 | mode

    def bfp(self, size):
        """A number of 4, 8 or 16 bytes, as an integer."""
        r = self.rng
        exponent_bits, fraction_bits = {4: (8, 23), 8: (11, 52), 16: (15, 112)}[size]
        top = (1 << exponent_bits) - 1
        bias = top >> 1
        sign = r.getrandbits(1)
        full = (1 << fraction_bits) - 1
        kind = r.randrange(12)
        fraction = r.choice((0, 1, full, full - 1, 1 << fraction_bits - 1,
                             r.getrandbits(fraction_bits),
                             r.getrandbits(fraction_bits),
                             full ^ full >> r.randrange(fraction_bits),
                             1 << r.randrange(fraction_bits)))
        if kind == 0:
            exponent, fraction = 0, 0
        elif kind == 1:
            exponent = 0
        elif kind == 2:
            exponent, fraction = top, 0
        elif kind == 3:
            exponent = top
        elif kind == 4:
            exponent = r.choice((1, 2, top - 1, top - 2, fraction_bits, top - fraction_bits))
        elif kind == 5:
            exponent = bias + r.choice((30, 31, 32, 62, 63, 64, -1, -2)) & top
        elif kind < 10:
            exponent = bias + r.randrange(-4, fraction_bits + 3) & top
            exponent = min(exponent, top - 1)
        else:
            exponent = r.randrange(top + 1)
        return sign << exponent_bits + fraction_bits | exponent << fraction_bits | fraction

    def fill_fprs(self, size):
        for n in range(16):
            if size == 4:
                self.fpr[n] = self.bfp(4) << 32 | self.rng.getrandbits(32)
            elif size == 8:
                self.fpr[n] = self.bfp(8)
            elif not n & 2:
                v = self.bfp(16)
                self.fpr[n], self.fpr[n | 2] = v >> 64, v & M64

    def decimal(self, length, valid=None):
        """Packed decimal of so many bytes."""
        r = self.rng
        style = r.randrange(5)
        digits = [r.choice((0, 9)) if style == 0 else r.randrange(10)
                  for _ in range(2 * length - 1)]
        if style > 1:
            zeros = r.randrange(2 * length)
            digits[:zeros] = [0] * zeros
        sign = r.choice((0xc, 0xd, 0xc, 0xd, 0xa, 0xb, 0xe, 0xf))
        if valid is None and r.random() < 0.06:
            if r.random() < 0.5:
                sign = r.randrange(10)
            else:
                digits[r.randrange(len(digits))] = r.randrange(10, 16)
        nibbles = digits + [sign]
        return bytes(nibbles[i] << 4 | nibbles[i + 1] for i in range(0, len(nibbles), 2))

    # ---- places ----

    def place(self, length, align=1, zone=None):
        """
        An address for an operand: mostly good, sometimes across or at a bad page.
        Operands with different zones, of up to 4096 bytes, do not overlap.
        """
        r = self.rng
        length = max(length, 1)
        if zone is not None:
            first, end = ((0, 2), (2, 4), (5, 7))[zone]
            kind = r.random()
            if kind < 0.75 or zone == 0:
                return ARENA + first * PAGE + r.randrange(
                    0, max((end - first) * PAGE - length - 16, 1)) // align * align
            if kind < 0.9:
                return ARENA + (end * PAGE - length) // align * align
            return ARENA + (end * PAGE - r.randrange(0, length + 1)) // align * align
        kind = r.random()
        if kind < 0.5:
            address = ARENA + r.randrange(0, max(4 * PAGE - length, 1))
        elif kind < 0.8:
            # Across the end of a page that another follows.
            address = ARENA + PAGE * r.choice((1, 2, 3, 6)) - r.randrange(0, length + 1)
        elif kind < 0.88:
            address = ARENA + PAGE * 4 - length      # the last bytes there are
        elif kind < 0.92:
            address = ARENA + PAGE * 4 - r.randrange(0, length + 1)
        elif kind < 0.96:
            address = ARENA + PAGE * 7 - r.randrange(0, length + 1)
        elif kind < 0.98:
            address = ARENA + PAGE * 7 + r.randrange(0, PAGE - min(length, PAGE) + 1)
        else:
            address = ARENA + PAGE * r.choice((4, 8)) + r.randrange(0, PAGE)
        if r.random() < 0.97:
            address -= address % align
        return address

    def patch(self, address, data):
        """Bytes at an address, where the arena has memory."""
        while data:
            n = min(len(data), PAGE - address % PAGE)
            page = (address - ARENA) // PAGE
            mapped = 0 <= page < len(ARENA_MAP) and ARENA_MAP[page] != "-"
            if mapped or CODE <= address < CODE + PAGE:
                self.patches.append((address, data[:n]))
            address, data = address + n, data[n:]

    def register(self, even=False):
        """One that may be anything; seldom one that an address is in."""
        r = self.rng
        for _ in range(8):
            n = r.randrange(16)
            if even and n & 1 and r.random() < 0.97:
                n &= ~1
            if n not in self.pinned or r.random() < 0.05:
                return n
        return n

    def pin(self, n, value):
        self.gr[n] = value & M64
        self.pinned.add(n)

    def address_register(self, even=False):
        free = [n for n in range(1, 16) if n not in self.pinned and not (even and n & 1)]
        if even:
            free = [n for n in free if n + 1 not in self.pinned] or [2]
        return self.rng.choice(free or [1])

    def dirty(self, address):
        """An address in a register: bits that the addressing mode ignores are any."""
        if self.amode == 2 or self.rng.random() < 0.3:
            return address
        bits = 31 if self.amode == 1 else 24
        return address | self.rng.getrandbits(64) >> bits << bits & M64

    def base(self, address, long=False, index=False):
        """Base, index and displacement for an address."""
        r = self.rng
        if long:
            d = r.choice((0, 1, -1, 0x7ffff, -0x80000, r.randrange(-0x80000, 0x80000)))
        else:
            d = r.choice((0, 0, 1, 0xfff, r.randrange(0x1000)))
        b = self.address_register()
        x = 0
        if index and r.random() < 0.5:
            self.pin(b, 0)
            x = self.address_register()
            value = r.choice((0, 8, self.integer()))
            if x == b:
                x = 0
            else:
                self.pin(x, value)
                address -= value
        self.pin(b, self.dirty(address - d & M64) if not x else address - d)
        if index and x and r.random() < 0.5:
            b, x = x, b
        return b, x, d

    # ---- the case as the executors read it ----

    def encode(self):
        body = b"".join(struct.pack(">II", a, len(d)) + d for a, d in self.patches)
        head = struct.pack(">Q16Q16Q16IIBBBBQ", self.seed, *self.gr, *self.fpr, *self.ar,
                           self.fpc, self.cc, self.program_mask, self.amode,
                           len(self.patches), self.start)
        return struct.pack(">II", MAGIC, 8 + len(head) + len(body)) + head + body


# ---- Formats ----

def bdl(b, d):
    """Base and long displacement: B, DL, DH."""
    d &= 0xfffff
    return bytes((b << 4 | d >> 8 & 0xf, d & 0xff, d >> 12))


def bd(b, d):
    return bytes((b << 4 | d >> 8 & 0xf, d & 0xff))


def opcode_bytes(insn):
    return bytes.fromhex(insn.opcode)


def branch_target(c):
    """Somewhere on the code page, not at the instruction itself."""
    while True:
        target = CODE + c.rng.randrange(0, 0xe00, 2)
        if abs(target - c.start) > 16:
            return target


def bfp_size(name):
    """Bytes of the wider operand of a floating-point instruction."""
    if "x" in name and name not in ("exrl",):
        return 16
    if "d" in name.rstrip("b").rstrip("br") and not name.startswith(("de", "me", "ke")):
        return 8
    return 4


FP_SOURCE = {}


def source_size(name):
    """Bytes of the numbers that a floating-point instruction takes."""
    known = {"ldebr": 4, "ldeb": 4, "lxebr": 4, "lxeb": 4, "lxdbr": 8, "lxdb": 8,
             "ledbr": 8, "lexbr": 16, "ldxbr": 16, "mdebr": 4, "mdeb": 4, "mxdbr": 8,
             "mxdb": 8, "lder": 4, "lde": 4, "thder": 4, "thdr": 8, "tbedr": 8,
             "tbdr": 8, "diebr": 4, "didbr": 8, "tceb": 4, "tcdb": 8, "tcxb": 16}
    if name in known:
        return known[name]
    stem = name[:-2] if name.endswith("br") else name[:-1]
    return {"e": 4, "d": 8, "x": 16}.get(stem[-1:], 8)


def is_bfp(insn):
    return insn.opcode[:2] in ("b3", "ed")


def memory_content(c, insn, length):
    if is_bfp(insn) and length in (4, 8, 16):
        return c.bfp(length).to_bytes(length, "big")
    if insn.name in ("cvb", "cvby", "cvbg"):
        value = c.decimal(length)
        if c.rng.random() < 0.7:
            limit = 1 << (31 if length == 8 else 63)
            n = c.rng.choice((limit, limit - 1, limit + 1, c.rng.randrange(limit)))
            text = str(n)[-(2 * length - 1):].rjust(2 * length - 1, "0")
            value = bytes.fromhex(text + c.rng.choice("cdcdabef"))
        return value
    if length in (1, 2, 4, 8):
        return (c.integer() & (1 << 8 * length) - 1).to_bytes(length, "big")
    return b""


def storage(c, insn, long, index):
    """The one storage operand of RX, RXY, RS, SI …: base, index, displacement."""
    name = insn.name
    if name in BRANCH_X:
        address = branch_target(c)
        if c.rng.random() < 0.02:
            address += 1
        return c.base(address, long, index)
    if name in SHIFTS:
        if c.rng.random() < 0.5:
            return 0, 0, c.rng.randrange(0, 72)
        b, x, d = c.base(c.rng.randrange(0, 0x10000), long, index)
        return b, x, d
    if name in NO_ACCESS:
        return c.base(c.integer(), long, index)
    length = c.access_length if hasattr(c, "access_length") else WIDTH.get(name, 8)
    if name in ("cvbg", "cvdg"):
        length = 16
    if name in ("tcxb",):
        return 0, 0, c.rng.randrange(0x1000)
    if name in ("tceb", "tcdb", "srnm", "srnmb", "srnmt"):
        return 0, 0, c.rng.choice((c.rng.randrange(0x1000), 1 << c.rng.randrange(12),
                                   c.rng.randrange(8)))
    align = length if name in ALIGNED else 1
    address = c.place(length, align)
    c.patch(address, memory_content(c, insn, length))
    if c.rng.random() < 0.01:
        # Whatever is at the start of storage; the page is not there.
        return 0, 0, c.rng.randrange(0x1000)
    return c.base(address, long, index)


def f_rr(c, insn, op):
    name = insn.name
    r1 = c.register(name in PAIRS)
    r2 = c.register(name in ("mvcl", "clcl"))
    if name in ("bcr", "balr", "basr", "bctr", "bsm", "bassm"):
        r2 = c.rng.choice((0, c.address_register()))
        if r2:
            target = branch_target(c)
            if name in ("bsm", "bassm"):
                # The target's addressing mode is in the address.
                mode = c.rng.randrange(3)
                target |= (0, 0x80000000, 1)[mode]
            elif c.rng.random() < 0.02:
                target += 1
            c.pin(r2, target if name in ("bsm", "bassm") else c.dirty(target))
        r1 = c.rng.randrange(16)
    return op + bytes((r1 << 4 | r2,))


def f_rre(c, insn, op):
    name = insn.name
    r1 = c.register(name in PAIRS)
    r2 = c.register()
    if name == "bctgr":
        r2 = c.rng.choice((0, c.address_register()))
        if r2:
            c.pin(r2, c.dirty(branch_target(c) + (c.rng.random() < 0.02)))
    if is_bfp(insn) and c.extended:
        r1, r2 = fp_pair(c, r1), fp_pair(c, r2)
    if name in ("sfpc", "sfasr"):
        c.gr[r1] = c.make_fpc() | (c.rng.getrandbits(32) if c.rng.random() < 0.1 else 0)
    return op + bytes((0, r1 << 4 | r2))


def fp_pair(c, n):
    return n & ~2 if c.rng.random() < 0.97 else n


def f_rrf(c, insn, op):
    name = insn.name
    r1, r2, r3 = c.register(), c.register(), c.register()
    m4 = 0
    if is_bfp(insn):
        if c.extended:
            r1, r2 = fp_pair(c, r1), fp_pair(c, r2)
        if name == "cpsdr":
            m4 = 0
        elif name in ("diebr", "didbr"):
            m4 = c.rng.choice((0, 1, 3, 4, 5, 6, 7))
        else:
            r3 = c.rng.choice((0, 1, 3, 4, 5, 6, 7) if c.rng.random() < 0.98 else (2, 8))
            m4 = c.rng.choice((0, 0, 4))
    if name in ("diebr", "didbr") and c.rng.random() < 0.97:
        while len({r1, r2, r3}) < 3:
            r2, r3 = c.rng.randrange(16), c.rng.randrange(16)
    return op + bytes((r3 << 4 | m4, r1 << 4 | r2))


def f_rrd(c, insn, op):
    return op + bytes((c.register() << 4, c.register() << 4 | c.register()))


def f_rx(c, insn, op):
    b, x, d = storage(c, insn, False, True)
    return op + bytes((c.register(insn.name in PAIRS) << 4 | x,)) + bd(b, d)


def f_rxy(c, insn, op):
    b, x, d = storage(c, insn, True, True)
    if insn.name in SHIFTS:
        x = 0
    r1 = c.register(insn.name in PAIRS)
    return op[:1] + bytes((r1 << 4 | x,)) + bdl(b, d) + op[1:]


def f_rxe(c, insn, op):
    b, x, d = storage(c, insn, False, True)
    r1 = c.register()
    if c.extended:
        r1 = fp_pair(c, r1)
    return op[:1] + bytes((r1 << 4 | x,)) + bd(b, d) + bytes((0,)) + op[1:]


def f_rxf(c, insn, op):
    b, x, d = storage(c, insn, False, True)
    return (op[:1] + bytes((c.register() << 4 | x,)) + bd(b, d) +
            bytes((c.register() << 4,)) + op[1:])


def multiple(c, insn, r1, r3):
    """Bytes of LM, STM and so on."""
    if insn.name in ("lmg", "stmg"):
        return ((r3 - r1 & 15) + 1) * 8
    return ((r3 - r1 & 15) + 1) * 4


def f_rs(c, insn, op, long=False):
    name = insn.name
    r1 = c.register(name in PAIRS)
    r3 = c.register(name in ("mvcle", "clcle", "mvclu", "clclu", "cds", "cdsy", "cdsg"))
    if name in ("lm", "stm", "lam", "stam", "lmg", "stmg", "lmh", "stmh", "lmy", "stmy",
                "lamy", "stamy"):
        c.access_length = multiple(c, insn, r1, r3)
    elif name in ("clm", "clmy", "clmh", "stcm", "stcmy", "stcmh", "icm", "icmy", "icmh"):
        r3 = c.rng.randrange(16)
        c.access_length = bin(r3).count("1") or 1
    elif name in ("loc", "stoc", "locg", "stocg"):
        r3 = c.rng.randrange(16)
    b, _, d = storage(c, insn, long, False)
    if name in ("cs", "csy", "csg", "cds", "cdsy", "cdsg") and c.rng.random() < 0.5:
        # Make it equal.
        width = WIDTH.get(name, 8)
        address = c.patches[-1][0] if c.patches else c.place(width, width)
        if name in ("cs", "csy"):
            data = (c.gr[r1] & 0xffffffff).to_bytes(4, "big")
        elif name == "csg":
            data = c.gr[r1].to_bytes(8, "big")
        elif name == "cdsg":
            data = b""
            address = (c.gr[b] + d) & (0xffffff, 0x7fffffff, M64)[c.amode]
            data = c.gr[r1].to_bytes(8, "big") + c.gr[(r1 + 1) & 15].to_bytes(8, "big")
        else:
            data = ((c.gr[r1] & 0xffffffff) << 32 |
                    c.gr[(r1 + 1) & 15] & 0xffffffff).to_bytes(8, "big")
        c.patch(address, data)
    if long:
        return op[:1] + bytes((r1 << 4 | r3,)) + bdl(b, d) + op[1:]
    return op + bytes((r1 << 4 | r3,)) + bd(b, d)


def f_rsy(c, insn, op):
    return f_rs(c, insn, op, True)


def f_ri(c, insn, op):
    i = c.integer() & 0xffff
    return bytes((op[0], c.register(insn.name in PAIRS) << 4 | op[1] & 0xf)) + struct.pack(">H", i)


def f_ri_rel(c, insn, op):
    d = (branch_target(c) - c.start) // 2
    return bytes((op[0], c.register() << 4 | op[1] & 0xf)) + struct.pack(">h", d)


def f_ril(c, insn, op):
    i = c.integer() & 0xffffffff
    return bytes((op[0], c.register() << 4 | op[1] & 0xf)) + struct.pack(">I", i)


def f_ril_rel(c, insn, op):
    name = insn.name
    if name in ("brcl", "brasl", "brcth"):
        target = branch_target(c)
    elif name == "larl":
        target = (c.rng.getrandbits(32) << 1) - (1 << 32) + c.start
    else:
        width = WIDTH.get(name, 8)
        target = c.place(width, max(width, 2)) & ~1
        c.patch(target, memory_content(c, insn, width))
    d = (target - c.start) // 2
    return bytes((op[0], c.register() << 4 | op[1] & 0xf)) + struct.pack(">i", d)


def f_rsi(c, insn, op):
    d = (branch_target(c) - c.start) // 2
    return op + bytes((c.register() << 4 | c.register(),)) + struct.pack(">h", d)


def f_rie_a(c, insn, op):
    return (op[:1] + bytes((c.register() << 4,)) + struct.pack(">H", c.integer() & 0xffff) +
            bytes((c.rng.randrange(0, 16, 2) << 4,)) + op[1:])


def f_rie_b(c, insn, op):
    d = (branch_target(c) - c.start) // 2
    r1, r2 = c.register(), c.register()
    if c.rng.random() < 0.3:
        c.gr[r2] = c.gr[r1]
    return (op[:1] + bytes((r1 << 4 | r2,)) + struct.pack(">h", d) +
            bytes((c.rng.randrange(16) << 4,)) + op[1:])


def f_rie_c(c, insn, op):
    d = (branch_target(c) - c.start) // 2
    r1, i = c.register(), c.integer() & 0xff
    if c.rng.random() < 0.3:
        c.gr[r1] = i
    return (op[:1] + bytes((r1 << 4 | c.rng.randrange(16),)) + struct.pack(">h", d) +
            bytes((i,)) + op[1:])


def f_rie_d(c, insn, op):
    return (op[:1] + bytes((c.register() << 4 | c.register(),)) +
            struct.pack(">H", c.integer() & 0xffff) + b"\0" + op[1:])


def f_rie_e(c, insn, op):
    d = (branch_target(c) - c.start) // 2
    return (op[:1] + bytes((c.register() << 4 | c.register(),)) + struct.pack(">h", d) +
            b"\0" + op[1:])


def f_rie_f(c, insn, op):
    r = c.rng
    if insn.name in ("risbhg", "risblg"):
        i3, i4 = r.randrange(32), r.randrange(32) | r.choice((0, 0x80))
    elif insn.name == "risbg":
        i3, i4 = r.randrange(64), r.randrange(64) | r.choice((0, 0x80))
    else:
        i3, i4 = r.randrange(64) | r.choice((0, 0x80)), r.randrange(64)
    return (op[:1] + bytes((c.register() << 4 | c.register(), i3, i4, r.randrange(64))) +
            op[1:])


def f_ris(c, insn, op):
    b, _, d = c.base(branch_target(c))
    return (op[:1] + bytes((c.register() << 4 | c.rng.randrange(16),)) + bd(b, d) +
            bytes((c.integer() & 0xff,)) + op[1:])


def f_rrs(c, insn, op):
    b, _, d = c.base(branch_target(c))
    return (op[:1] + bytes((c.register() << 4 | c.register(),)) + bd(b, d) +
            bytes((c.rng.randrange(16) << 4,)) + op[1:])


def f_si(c, insn, op):
    b, _, d = storage(c, insn, False, False)
    return op + bytes((c.integer() & 0xff,)) + bd(b, d)


def f_siy(c, insn, op):
    b, _, d = storage(c, insn, True, False)
    return op[:1] + bytes((c.integer() & 0xff,)) + bdl(b, d) + op[1:]


def f_sil(c, insn, op):
    b, _, d = storage(c, insn, False, False)
    return op + bd(b, d) + struct.pack(">H", c.integer() & 0xffff)


def f_s(c, insn, op):
    b, _, d = storage(c, insn, False, False)
    if insn.name in ("lfpc", "lfas") and c.patches:
        value = c.make_fpc() | (c.rng.getrandbits(32) if c.rng.random() < 0.1 else 0)
        c.patch(c.patches[-1][0], value.to_bytes(4, "big"))
    if insn.name == "ts":
        return op + b"\0" + bd(b, d)
    return op + bd(b, d)


def f_e(c, insn, op):
    return op


def two_operands(c, n1, n2):
    """Places of two operands, near each other or far apart."""
    a1 = c.place(n1)
    if c.rng.random() < 0.4:
        a2 = a1 + c.rng.randrange(-n2 - 2, n1 + 3)
    else:
        a2 = c.place(n2)
    return a1, a2


def f_ss_a(c, insn, op):
    name, r = insn.name, c.rng
    length = r.choice((1, 2, 8, 16, 256, r.randrange(1, 257)))
    n1, n2 = length, length
    if name in ("tr", "trt", "trtr"):
        n2 = 256
    elif name == "unpka":
        length = n1 = r.randrange(1, 33 + (r.random() < 0.05))
        n2 = 16
    elif name == "unpku":
        length = n1 = r.randrange(1, 33) * 2 if r.random() < 0.95 else r.randrange(1, 80)
        n2 = 16
    elif name in ("ed", "edmk"):
        length = n1 = r.randrange(1, 32)
        n2 = n1
    a1, a2 = two_operands(c, n1, n2)
    if name == "clc":
        text = bytes(r.getrandbits(8) for _ in range(length))
        c.patch(a1, text)
        if r.random() < 0.8:
            k = r.randrange(length)
            other = bytearray(text)
            if r.random() < 0.7:
                other[k] ^= r.getrandbits(8)
            c.patch(a2, bytes(other))
    elif name in ("trt", "trtr"):
        # Few bytes with a function, so that it goes some way.
        table = bytearray(256)
        for _ in range(r.randrange(0, 40)):
            table[r.randrange(256)] = r.getrandbits(8)
        c.patch(a2, bytes(table))
    elif name in ("ed", "edmk"):
        pattern = bytearray(r.choice((0x40, 0x5c)) if i == 0 else
                            r.choices((0x20, 0x21, 0x22, 0x6b, 0x4b, 0x40, r.getrandbits(8)),
                                      (50, 15, 8, 8, 8, 8, 3))[0]
                            for i in range(length))
        c.patch(a1, bytes(pattern))
        data = b"".join(c.decimal(r.randrange(1, 9)) for _ in range(6))
        c.patch(a2, data[:n2 + 8])
    elif name in ("unpka", "unpku"):
        c.patch(a2, c.decimal(16))
    if name == "mvcin":
        # The second address is that of the last byte.
        a2 += length - 1
    if name == "trtr":
        a1 += length - 1
    b1, _, d1 = c.base(a1)
    b2, _, d2 = c.base(a2)
    return op + bytes((length - 1,)) + bd(b1, d1) + bd(b2, d2)


def f_ss_b(c, insn, op):
    name, r = insn.name, c.rng
    l1, l2 = r.randrange(1, 17), r.randrange(1, 17)
    if name in ("mp", "dp") and r.random() < 0.97:
        l2 = r.randrange(1, 9)
        l1 = r.randrange(l2 + 1, 17)
    a1, a2 = two_operands(c, l1, l2)
    if r.random() < 0.2:
        a2 = a1 + l1 - l2
    if name == "mp":
        d = c.decimal(l1)
        if r.random() < 0.9:
            k = min(l2, l1 - 1)
            d = bytes(k) + c.decimal(l1 - k)
        c.patch(a1, d)
        c.patch(a2, c.decimal(l2))
    elif name == "dp":
        d = c.decimal(l1)
        if r.random() < 0.7:
            d = bytes(min(l2, l1 - 1)) + d[min(l2, l1 - 1):]
        c.patch(a1, d)
        c.patch(a2, c.decimal(l2))
    elif name in ("ap", "sp", "cp", "zap"):
        c.patch(a1, c.decimal(l1))
        c.patch(a2, c.decimal(l2))
        if r.random() < 0.15:
            # Equal magnitudes.
            k = min(l1, l2)
            c.patch(a1, bytes(l1 - k) + c.decimal(k, True))
    b1, _, d1 = c.base(a1)
    b2, _, d2 = c.base(a2)
    return op + bytes((l1 - 1 << 4 | l2 - 1,)) + bd(b1, d1) + bd(b2, d2)


def f_ss_c(c, insn, op):            # SRP
    l1 = c.rng.randrange(1, 17)
    a1 = c.place(l1)
    c.patch(a1, c.decimal(l1))
    b1, _, d1 = c.base(a1)
    shift = c.rng.choice((c.rng.randrange(64), c.rng.randrange(-31, 32) & 63))
    i3 = c.rng.randrange(10) if c.rng.random() < 0.97 else c.rng.randrange(16)
    return op + bytes((l1 - 1 << 4 | i3,)) + bd(b1, d1) + bd(0, shift)


def f_ss_f(c, insn, op):            # PKA, PKU
    r = c.rng
    l2 = r.randrange(1, 33) if insn.name == "pka" else 2 * r.randrange(1, 33)
    if r.random() < 0.03:
        l2 = r.randrange(1, 80)
    a1, a2 = two_operands(c, 16, l2)
    b1, _, d1 = c.base(a1)
    b2, _, d2 = c.base(a2)
    return op + bytes((l2 - 1,)) + bd(b1, d1) + bd(b2, d2)


def f_rsl(c, insn, op):             # TP
    l1 = c.rng.randrange(1, 17)
    a1 = c.place(l1)
    c.patch(a1, c.decimal(l1))
    b1, _, d1 = c.base(a1)
    return op[:1] + bytes((l1 - 1 << 4,)) + bd(b1, d1) + b"\0" + op[1:]


def f_ss_e(c, insn, op):            # PLO, LMD
    r = c.rng
    r1, r3 = c.register(True), c.register(True)
    if insn.name == "lmd":
        n = ((r3 - r1 & 15) + 1) * 4
        a2, a4 = two_operands(c, n, n)
    else:
        code = r.randrange(24) | (0x100 if r.random() < 0.1 else 0)
        if r.random() < 0.03:
            code = r.getrandbits(9)
        c.gr[0] = c.gr[0] & ~0x1ff & M64 | code
        c.pinned.add(0)
        width = (4, 8, 8, 16, 4, 8)[code % 4] if code & 3 else 4
        a2, a4 = c.place(16, 16), c.place(128, 16)
        if r.random() < 0.6:
            c.patch(a2, (c.gr[r1] & M64).to_bytes(8, "big")[8 - min(width, 8):])
    b2, _, d2 = c.base(a2)
    b4, _, d4 = c.base(a4)
    return op + bytes((r1 << 4 | r3,)) + bd(b2, d2) + bd(b4, d4)


def f_ssf(c, insn, op):             # CSST, LPD, LPDG
    r = c.rng
    if insn.name == "csst":
        fc, sc = r.randrange(3), r.randrange(5)
        if r.random() < 0.03:
            fc, sc = r.getrandbits(3), r.getrandbits(3)
        c.gr[0] = sc << 8 | fc
        plist = c.place(32, 16)
        c.pin(1, plist)
        c.pinned.add(0)
        n1, n2 = 4 << min(fc, 2), 1 << min(sc, 4)
        a1, a2 = c.place(n1, n1), c.place(n2, n2)
        r3 = c.register(fc == 2)
        if r.random() < 0.6:
            wide = c.gr[r3].to_bytes(8, "big")
            if n1 == 4:
                c.patch(a1, wide[4:])
            elif n1 == 8:
                c.patch(a1, wide)
            else:
                c.patch(a1, wide + c.gr[(r3 + 1) & 15].to_bytes(8, "big"))
    else:
        r3 = c.register(True)
        width = 8 if insn.name == "lpdg" else 4
        a1, a2 = c.place(width, width), c.place(width, width)
    b1, _, d1 = c.base(a1)
    b2, _, d2 = c.base(a2)
    return bytes((op[0], r3 << 4 | op[1] & 0xf)) + bd(b1, d1) + bd(b2, d2)


# ---- Instructions whose operands are in registers ----

def text(c, n, alphabet=None):
    r = c.rng
    if alphabet:
        return bytes(r.choice(alphabet) for _ in range(n))
    return bytes(r.getrandbits(8) for _ in range(n))


def length_value(c, n, bits=None):
    """A length in a register; outside the 64-bit mode the left half is any."""
    if c.amode == 2 and bits is None:
        return n
    keep = bits or 32
    return c.rng.getrandbits(64) >> keep << keep & M64 | n


def pair(c, address, length, bits=None):
    n = c.address_register(True)
    c.pin(n, c.dirty(address))
    c.pin(n + 1, length_value(c, length, bits))
    return n


def size(c):
    return c.rng.choice((0, 1, 2, 7, 8, 64, 255, 256, 257, 4096, c.rng.randrange(0, 5000),
                         c.rng.randrange(0, 300), c.rng.randrange(0, 300)))


def near_copy(c, data):
    other = bytearray(data)
    if other and c.rng.random() < 0.7:
        other[c.rng.randrange(len(other))] ^= 1 << c.rng.randrange(8)
    return bytes(other)


def s_mvcl(c, insn, op):
    n1, n2 = size(c), size(c)
    if c.rng.random() < 0.4:
        n2 = n1
    a1, a2 = two_operands(c, n1, n2)
    if insn.name == "clcl":
        pad = c.rng.getrandbits(8)
        data = text(c, min(n1, 900))
        c.patch(a1, data)
        c.patch(a2, near_copy(c, data)[:n2])
        if c.rng.random() < 0.3:
            c.patch(a1 + min(n1, n2), bytes((pad,)) * min(abs(n1 - n2), 300))
    r1 = pair(c, a1, n1, 24)
    r2 = pair(c, a2, n2, 24)
    if c.rng.random() < 0.03:
        r1 |= 1
    return op + bytes((r1 << 4 | r2,))


def apart(c, *lengths):
    zones = c.rng.sample((0, 1, 2), len(lengths))
    return [c.place(n, 1, zone) for n, zone in zip(lengths, zones)]


def s_mvcle(c, insn, op):
    unicode = insn.name in ("mvclu", "clclu")
    n1, n2 = size(c), size(c)
    if unicode and c.rng.random() < 0.95:
        n1, n2 = n1 & ~1, n2 & ~1
    if c.rng.random() < 0.4:
        n2 = n1
    if insn.name in ("clcle", "clclu"):
        a1, a2 = two_operands(c, n1, n2)
    else:
        # What an overlap does is not predictable.
        a1, a2 = apart(c, n1, n2)
    if insn.name in ("clcle", "clclu"):
        data = text(c, min(n1, 900))
        c.patch(a1, data)
        c.patch(a2, near_copy(c, data)[:n2])
    r1 = pair(c, a1, n1)
    r3 = pair(c, a2, n2)
    if c.rng.random() < 0.03:
        r3 |= 1
    b = c.rng.choice((0, c.register()))
    if unicode:
        return op[:1] + bytes((r1 << 4 | r3,)) + bdl(b, c.rng.randrange(0x1000)) + op[1:]
    return op + bytes((r1 << 4 | r3,)) + bd(b, c.rng.randrange(0x1000))


def s_terminated(c, insn, op):
    """MVST, CLST, SRST, SRSTU: the terminator is in register 0."""
    r = c.rng
    wide = insn.name == "srstu"
    end = r.getrandbits(16) if wide else r.getrandbits(8)
    c.gr[0] = (r.getrandbits(32) << 32) | end
    if r.random() < 0.03:
        c.gr[0] |= 0x100 << r.randrange(16)
    c.pinned.add(0)
    n = r.choice((0, 1, 5, 100, r.randrange(0, 300), r.randrange(0, 900)))
    n = n & ~1 if wide else n
    data = bytes(b for b in text(c, n) if wide or b != end)
    mark = end.to_bytes(2, "big") if wide else bytes((end,))
    a1, a2 = apart(c, len(data) + 1, len(data) + 1)
    c.patch(a2, data + mark)
    if insn.name == "clst":
        c.patch(a1, near_copy(c, data) + mark)
    if wide:
        a2 &= ~1 if r.random() < 0.7 else ~0
    if insn.name in ("srst", "srstu"):
        a1 = a2 + r.choice((len(data), len(data) + len(mark), len(data) // 2 & ~1, 4000,
                            len(data) + 10))
    r1 = c.address_register()
    c.pin(r1, c.dirty(a1))
    r2 = c.address_register()
    c.pin(r2, c.dirty(a2))
    return op + bytes((0, r1 << 4 | r2))


def s_cksm(c, insn, op):
    n = size(c)
    r2 = pair(c, c.place(n), n)
    # The sum in a register of the pair: unpredictable.
    r1 = c.rng.choice([r for r in range(16) if r not in (r2, r2 + 1)])
    return op + bytes((0, r1 << 4 | r2))


def s_tre(c, insn, op):
    n = size(c)
    c.gr[0] = c.integer()
    c.pinned.add(0)
    a1, a2 = apart(c, n, 256)
    r1 = pair(c, a1, n)
    r2 = c.address_register()
    c.pin(r2, c.dirty(a2))
    return op + bytes((0, r1 << 4 | r2))


def s_translate(c, insn, op):
    """TROO, TROT, TRTO, TRTT: table in register 1, test character in 0."""
    r = c.rng
    source_width = 1 if insn.name in ("troo", "trot") else 2
    result_width = 1 if insn.name in ("troo", "trto") else 2
    n = size(c) // 2
    if source_width == 2 and r.random() < 0.97:
        n &= ~1
    table_size = (256 if source_width == 1 else 65536) * result_width
    # Of a big table what is used; the rest is on other pages.
    table, source, result = apart(c, min(table_size, 4096), n,
                                  n * result_width // source_width)
    table &= ~7
    c.gr[0] = c.integer()
    c.pinned.add(0)
    c.pin(1, table | (r.randrange(8) if r.random() < 0.3 else 0))
    if source_width == 2 and r.random() < 0.95:
        # Characters for which the table has memory.
        c.patch(source, b"".join(struct.pack(">H", r.randrange(0, 2048))
                                 for _ in range(min(n // 2, 400))))
    r1 = pair(c, result, n)
    r2 = c.address_register()
    c.pin(r2, c.dirty(source))
    return op + bytes(((1 if r.random() < 0.5 else 0) << 4, r1 << 4 | r2))


def s_trte(c, insn, op):
    r = c.rng
    m3 = r.choice((0, 0, 2, 4, 6, 8, 10, 12, 14))
    wide_argument = m3 & 8
    wide_function = m3 & 4
    n = size(c) // 2
    if wide_argument and r.random() < 0.97:
        n &= ~1
    table = c.place(512) & ~7
    c.pin(1, c.dirty(table))
    sparse = bytearray(512)
    for _ in range(r.randrange(0, 30)):
        sparse[r.randrange(512)] = r.getrandbits(8)
    if wide_function or wide_argument:
        for k in range(0, 8):
            c.patch(table + 512 * k, bytes(sparse))
    else:
        c.patch(table, bytes(sparse))
    a = c.place(n)
    if wide_argument:
        c.patch(a, b"".join(struct.pack(">H", r.randrange(0, 300))
                            for _ in range(min(n // 2, 400))))
    if insn.name == "trtre":
        a += n - (2 if wide_argument else 1)
    r1 = pair(c, a, n)
    return op + bytes((m3 << 4, r1 << 4 | c.register()))


def utf8(c, n):
    r = c.rng
    out = bytearray()
    while len(out) < n:
        kind = r.random()
        if kind < 0.04:
            out.append(r.getrandbits(8))
            continue
        if kind < 0.07:
            code = r.randrange(0xd800, 0xe000)
            out += bytes((0xe0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63))
            continue
        code = r.choice((r.randrange(0x80), r.randrange(0x80, 0x800),
                         r.randrange(0x800, 0xd800), r.randrange(0x10000, 0x110000)))
        out += chr(code).encode("utf-8")
    return bytes(out[:n])


def utf16(c, n):
    r = c.rng
    out = bytearray()
    while len(out) < n:
        if r.random() < 0.05:
            out += struct.pack(">H", r.randrange(0xd800, 0xe000))
        else:
            code = r.choice((r.randrange(0x80), r.randrange(0x80, 0x800),
                             r.randrange(0x800, 0xd800), r.randrange(0x10000, 0x110000)))
            out += chr(code).encode("utf-16-be")
    return bytes(out[:n])


def utf32(c, n):
    r = c.rng
    out = bytearray()
    while len(out) < n:
        if r.random() < 0.05:
            out += struct.pack(">I", r.choice((0x110000, 0xd800, 0xdfff, 0xffffffff,
                                               r.getrandbits(32))))
        else:
            out += struct.pack(">I", r.choice((r.randrange(0x80), r.randrange(0x800),
                                               r.randrange(0xd800),
                                               r.randrange(0x10000, 0x110000))))
    return bytes(out[:n])


def s_cu(c, insn, op):
    r = c.rng
    maker = {"1": utf8, "2": utf16, "4": utf32}[insn.name[2]]
    n2 = r.choice((0, 1, 2, 3, 4, 8, 33, 64, 300, r.randrange(0, 700)))
    if insn.name[2] != "1" and r.random() < 0.9:
        n2 &= ~3
    n1 = r.choice((0, 1, 3, 8, 100, 2000, 3 * n2, n2, r.randrange(0, 700)))
    a1, a2 = apart(c, n1, n2)
    c.patch(a2, maker(c, n2))
    r1 = pair(c, a1, n1)
    r2 = pair(c, a2, n2)
    m3 = r.choice((0, 0, 1)) if insn.name in ("cu12", "cu14", "cu21", "cu24") else 0
    return op + bytes((m3 << 4, r1 << 4 | r2))


def s_cuse(c, insn, op):
    r = c.rng
    c.gr[0] = r.randrange(0, 256)
    n1 = size(c) // 8
    n2 = n1 if r.random() < 0.5 else size(c) // 8
    c.gr[0] = r.choice((0, 1, 2, 4, 10, r.randrange(256)))
    c.gr[1] = r.getrandbits(8)
    c.pinned |= {0, 1}
    a1, a2 = c.place(n1), c.place(n2)
    alphabet = bytes((1, 2)) if r.random() < 0.7 else None
    c.patch(a1, text(c, n1, alphabet))
    c.patch(a2, text(c, n2, alphabet))
    r1 = pair(c, a1, n1)
    r2 = pair(c, a2, n2)
    return op + bytes((0, r1 << 4 | r2))


def s_mvpg(c, insn, op):
    c.gr[0] = 0 if c.rng.random() < 0.9 else c.rng.getrandbits(12)
    c.pinned.add(0)
    pages = [ARENA + PAGE * k for k in (0, 1, 2, 3, 5, 6, 7, 4)]
    r1, r2 = c.address_register(), None
    c.pin(r1, c.dirty(c.rng.choice(pages) + c.rng.randrange(PAGE)))
    r2 = c.address_register()
    c.pin(r2, c.dirty(c.rng.choice(pages) + c.rng.randrange(PAGE)))
    return op + bytes((0, r1 << 4 | r2))


EX_TARGETS = ("1a24", "1824", "d20030003000", "5a203000", "41203001", "b9080024", "0000",
              "44003000", "c60000000000", "92003000", "a72a0001", "8920000c", "91003000",
              "dc0030003000", "95003000", "50203000", "0722", "47203000")


def s_ex(c, insn, op):
    """EX, EXRL: a target somewhere on the code page, operands by register 3."""
    r = c.rng
    target = branch_target(c)
    raw = bytes.fromhex(r.choice(EX_TARGETS))
    if raw[0] in (0x07, 0x47):
        # What a branch goes to is code: the oracle's arena cannot be executed.
        c.pin(2, branch_target(c))
        c.pin(3, branch_target(c))
    else:
        c.pin(3, c.place(256))
    # Where the second byte is opcode, R1 would make another instruction of it.
    r1 = r.choice((0, c.register())) if raw[0] not in (0xb9, 0xc6) else 0
    c.patch(target, raw)
    if insn.name == "exrl":
        return bytes((op[0], r1 << 4)) + struct.pack(">i", (target - c.start) // 2)
    if r.random() < 0.02:
        target += 1
    b, x, d = c.base(target, False, True)
    return op + bytes((r1 << 4 | x,)) + bd(b, d)


SPECIAL = {"mvcl": s_mvcl, "clcl": s_mvcl, "mvcle": s_mvcle, "clcle": s_mvcle,
           "mvclu": s_mvcle, "clclu": s_mvcle, "mvst": s_terminated,
           "clst": s_terminated, "srst": s_terminated, "srstu": s_terminated,
           "cksm": s_cksm, "tre": s_tre, "troo": s_translate, "trot": s_translate,
           "trto": s_translate, "trtt": s_translate, "trte": s_trte, "trtre": s_trte,
           "cu12": s_cu, "cu14": s_cu, "cu21": s_cu, "cu24": s_cu, "cu41": s_cu,
           "cu42": s_cu, "cuse": s_cuse, "mvpg": s_mvpg, "ex": s_ex, "exrl": s_ex}
FORMATS = {"E": f_e, "RR": f_rr, "RRE": f_rre, "RRF": f_rrf, "RRD": f_rrd, "RX": f_rx,
           "RXY": f_rxy, "RXE": f_rxe, "RXF": f_rxf, "RS": f_rs, "RSY": f_rsy,
           "RI": f_ri, "RI_REL": f_ri_rel, "RIL": f_ril, "RIL_U": f_ril,
           "RIL_REL": f_ril_rel, "RSI": f_rsi, "RIE_A": f_rie_a, "RIE_B": f_rie_b,
           "RIE_C": f_rie_c, "RIE_D": f_rie_d, "RIE_E": f_rie_e, "RIE_F": f_rie_f,
           "RIS": f_ris, "RRS": f_rrs, "SI": f_si, "SIY": f_siy, "SIL": f_sil, "S": f_s,
           "SS_A": f_ss_a, "SS_B": f_ss_b, "SS_C": f_ss_c, "SS_E": f_ss_e, "SS_F": f_ss_f,
           "SSF": f_ssf, "RSL": f_rsl}
RELATIVE = {"RI_REL", "RIL_REL", "RSI", "RIE_B", "RIE_C", "RIE_E"}


def executed(c, raw):
    """The instruction as the target of EXRL, some bits of it from a register."""
    r = c.rng
    target = branch_target(c)
    r1 = r.randrange(16)
    if r1 and r1 not in c.pinned and r.random() < 0.5:
        used = {raw[1] >> 4, raw[1] & 15} | {raw[-1] >> 4, raw[-1] & 15, 0}
        if r1 not in used:
            c.gr[r1] = c.gr[r1] & ~0xff | raw[1] & r.getrandbits(8)
            raw = bytes((raw[0], raw[1] & ~(c.gr[r1] & r.getrandbits(8)) & 0xff)) + raw[2:]
        else:
            r1 = 0
    else:
        r1 = 0
    c.patch(target, raw)
    return bytes((0xc6, r1 << 4)) + struct.pack(">i", (target - c.start) // 2)


def make(insn, key):
    c = Case(insn, key)
    c.extended = False
    if is_bfp(insn) or insn.opcode in ("28", "38", "60", "68", "70", "78"):
        width = source_size(insn.name)
        c.extended = "x" in insn.name
        c.fill_fprs(width)
        if width != 16 and c.extended:
            for n in range(16):
                c.fpr[n] = c.bfp(width) << (32 if width == 4 else 0)
        if insn.name in WIDTH or insn.opcode.startswith("ed"):
            c.access_length = WIDTH.get(insn.name, width)
    else:
        c.fill_fprs(8)
    raw = SPECIAL.get(insn.name, FORMATS.get(insn.format))(c, insn, opcode_bytes(insn))
    c.raw = raw
    if (insn.format not in RELATIVE and insn.name not in ("ex", "exrl") and
            c.rng.random() < 0.08):
        raw = executed(c, raw)
    c.at = c.start   # of the instruction under test; not the target of an EXECUTE
    c.length = len(raw)
    if insn.name in PARTIAL:
        # Condition code 3: not all was done, go on.
        raw += struct.pack(">HH", 0xa714, -len(raw) // 2 & 0xffff)
    c.code = raw
    c.patch(c.start, raw)
    return c
