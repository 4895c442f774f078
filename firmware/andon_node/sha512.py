"""SHA-512 (FIPS 180-4) for ports whose hashlib has none. Slow: for keys and manifests, not for whole firmware images."""

from micropython import const

_MASK = const((1 << 64) - 1)
_BLOCK = const(128)
# FIPS 180-4 4.2.3 and 5.3.5: the first 64 bits of the fractional parts of the cube roots of the first 80 primes, and of the
# square roots of the first 8
_K = bytes.fromhex(
    "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019"
    "923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2"
    "72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3"
    "0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5"
    "983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725"
    "06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df"
    "650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001"
    "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8"
    "19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb"
    "5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec"
    "90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207"
    "eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b"
    "28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a"
    "5fcb6fab3ad6faec6c44198c4a475817"
)
_H = bytes.fromhex(
    "6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1510e527fade682d19b05688c2b3e6c1f"
    "1f83d9abfb41bd6b5be0cd19137e2179"
)


def _rotate(x: int, n: int) -> int:
    return (x >> n | x << (64 - n)) & _MASK


def _compress(state: "list[int]", block: bytes) -> "list[int]":
    """One round of the compression function (FIPS 180-4 6.4.2)."""
    w = [int.from_bytes(block[i : i + 8], "big") for i in range(0, _BLOCK, 8)]
    a, b, c, d, e, f, g, h = state
    for t in range(80):
        if t >= 16:  # the schedule keeps the last 16 words, in a ring
            x, y = w[(t - 15) & 15], w[(t - 2) & 15]
            s0 = _rotate(x, 1) ^ _rotate(x, 8) ^ x >> 7
            s1 = _rotate(y, 19) ^ _rotate(y, 61) ^ y >> 6
            w[t & 15] = (w[t & 15] + s0 + w[(t - 7) & 15] + s1) & _MASK
        s1 = _rotate(e, 14) ^ _rotate(e, 18) ^ _rotate(e, 41)
        t1 = h + s1 + (e & f ^ (e ^ _MASK) & g) + int.from_bytes(_K[8 * t : 8 * t + 8], "big") + w[t & 15]
        s0 = _rotate(a, 28) ^ _rotate(a, 34) ^ _rotate(a, 39)
        t2 = s0 + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (t1 + t2) & _MASK, a, b, c, (d + t1) & _MASK, e, f, g
    return [(x + y) & _MASK for x, y in zip(state, (a, b, c, d, e, f, g, h))]  # noqa: B905 - the VM knows no strict=


class Sha512:
    """A digest in pieces, in the interface of hashlib."""

    def __init__(self, data: bytes = b"") -> None:
        self._state = [int.from_bytes(_H[i : i + 8], "big") for i in range(0, 64, 8)]
        self._rest = b""
        self._length = 0
        self.update(data)

    def update(self, data: bytes) -> None:
        """Take more of the message."""
        self._length += len(data)
        data = self._rest + data
        whole = len(data) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._state = _compress(self._state, data[start : start + _BLOCK])
        self._rest = data[whole:]

    def digest(self) -> bytes:
        """The digest, 64 bytes; nothing can be added afterwards."""
        bits = 8 * self._length
        self.update(b"\x80" + bytes(-(self._length + 17) % _BLOCK) + bits.to_bytes(16, "big"))
        return b"".join([word.to_bytes(8, "big") for word in self._state])


def sha512(message: bytes) -> bytes:
    """The digest of a message: 64 bytes."""
    return Sha512(message).digest()
