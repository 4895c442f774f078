"""Verify Ed25519 signatures (RFC 8032 5.1.7) in plain integers. Everything here is public, so time may depend on it.

Sign a short manifest that names the SHA-256 of the files, not the files: SHA-512 is slow here.
"""

from micropython import const

from .sha512 import Sha512

TYPE_CHECKING = False  # no typing module on the board; type checkers take this name for True
if TYPE_CHECKING:
    from collections.abc import Generator

_P = const((1 << 255) - 19)
_L = const((1 << 252) + 27742317777372353535851937790883648493)
_D = const(37095705934669439343138083508754565189542113879843219016388785533085940283555)  # -121665 / 121666
_ROOT_OF_MINUS_1 = const(19681161376707505956807079304988542015446066515923890162744021073123829784752)
_BASE_Y = const(46316835694926478169428394003475163141307993866256225615783033603165251855960)  # 4 / 5
_KEY_BYTES = const(32)
_SIGNATURE_BYTES = const(64)


def _recover_x(y: int, sign: int) -> int:
    """Return x of a point on the curve, or -1 (RFC 8032 5.1.3)."""
    if y >= _P:
        return -1
    u = (y * y - 1) % _P
    v = (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x + u) % _P == 0:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (v * x * x - u) % _P or (x == 0 and sign):
        return -1
    return _P - x if x & 1 != sign else x


def _add(p: "tuple[int, int, int, int]", q: "tuple[int, int, int, int]") -> "tuple[int, int, int, int]":
    """Sum of two points in extended coordinates; doubles as well (RFC 8032 5.1.4)."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _point(x: int, y: int) -> "tuple[int, int, int, int]":
    return x, y, 1, x * y % _P


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True if the signature of the message was made with the private half of the key.

    Args:
        public_key: 32 bytes.
        message: What was signed.
        signature: 64 bytes: R and S.
    """
    if len(signature) != _SIGNATURE_BYTES:
        return False
    return _finish(verify_digest(public_key, Sha512(signature[:32] + public_key + message).digest(), signature))


def _finish(steps: "Generator[None, None, bool]") -> bool:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def verify_digest(public_key: bytes, digest: bytes, signature: bytes) -> "Generator[None, None, bool]":
    """Generator that verifies and returns the result; it yields every few milliseconds, so that a loop stays alive.

    Args:
        public_key: 32 bytes.
        digest: SHA-512 of the signature's first 32 bytes, the key and the message.
        signature: 64 bytes: R and S.
    """
    if len(public_key) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    y = int.from_bytes(public_key, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = _recover_x(y, sign)
    s = int.from_bytes(signature[32:], "little")
    if x < 0 or s >= _L:
        return False
    yield
    k = int.from_bytes(digest, "little") % _L
    # S B - k A in one pass over the bits of both (Straus), compared with R in its encoding
    base = _point(_recover_x(_BASE_Y, 0), _BASE_Y)
    yield
    minus_a = _point(_P - x, y)
    both = _add(base, minus_a)
    result = (0, 1, 1, 0)
    for bit in range(252, -1, -1):
        result = _add(result, result)
        if s >> bit & 1:
            result = _add(result, both if k >> bit & 1 else base)
        elif k >> bit & 1:
            result = _add(result, minus_a)
        if bit & 3 == 0:
            yield
    inverse = pow(result[2], _P - 2, _P)
    x, y = result[0] * inverse % _P, result[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]
