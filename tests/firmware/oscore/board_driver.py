"""Runs on the MicroPython VM: reads one JSON call a line, answers one JSON line. Bytes travel as hex, None as null."""

import gc
import json
import random
import sys

from andon_node import ed25519  # type: ignore[import-not-found] # on the board's path only
from andon_node import sha512 as sha512_module
from andon_node.oscore import context as contexts  # type: ignore[import-not-found] # on the board's path only
from andon_node.oscore import derivation, errors, hkdf, message, option, replay, sequence
from andon_node.oscore.aes_ccm import AesCcm  # type: ignore[import-not-found] # on the board's path only

_contexts: "dict[str, contexts.SecurityContext]" = {}
_exchanges: "list[message.Exchange]" = []


class RamSequence:
    """Mock of the flash store, for tests whose subject is not durability."""

    def __init__(self, start: int) -> None:
        self.start = start

    def load(self) -> int:
        return self.start

    def reserve(self, upto: int) -> None:
        self.start = upto


def _raw(text: "str | None") -> "bytes | None":
    return None if text is None else bytes.fromhex(text)


def _hex(value: "bytes | bytearray | None") -> "str | None":
    return None if value is None else bytes(value).hex()


def _options_in(options: "list[list[object]]") -> "list[tuple[object, bytes | None]]":
    return [(number, _raw(str(value))) for number, value in options]


def _options_out(options: "list[tuple[int, bytes]]") -> "list[list[object]]":
    return [[number, _hex(value)] for number, value in options]


def hmac(key: str, parts: "list[str]") -> object:
    return _hex(hkdf.hmac_sha256(_raw(key), *[_raw(part) for part in parts]))


def derive_hkdf(salt: str, secret: str, info: str, length: int) -> object:
    key = hkdf.extract(_raw(salt), _raw(secret))
    return [_hex(key), _hex(hkdf.expand(key, _raw(info), length))]


def ccm_seal(key: str, nonce: str, aad: str, plain: str) -> object:
    text = bytearray(bytes.fromhex(plain) + bytes(8))
    AesCcm(_raw(key)).seal(_raw(nonce), _raw(aad), len(aad) // 2, text, len(text) - 8)
    return _hex(text)


def ccm_open(key: str, nonce: str, aad: str, sealed: str) -> object:
    """The plaintext, or the name of the error and whatever is left in the buffer then."""
    text = bytearray(bytes.fromhex(sealed))
    try:
        size = AesCcm(_raw(key)).open(_raw(nonce), _raw(aad), len(aad) // 2, text, len(text))
    except errors.DecryptionError:
        return ["DecryptionError", _hex(text[:-8])]
    return ["ok", _hex(text[:size])]


def derive(secret: str, salt: str, id_context: "str | None", sender: str, recipient: str) -> object:
    return [
        _hex(v) for v in derivation.derive(_raw(secret), _raw(salt), _raw(id_context), _raw(sender), _raw(recipient))
    ]


def infos(id_context: "str | None", sender: str, recipient: str) -> object:
    context = _raw(id_context)
    return [
        _hex(derivation._info(_raw(sender), context, "Key", 16)),
        _hex(derivation._info(_raw(recipient), context, "Key", 16)),
        _hex(derivation._info(b"", context, "IV", 13)),
    ]


def open_context(
    name: str, secret: str, salt: str, id_context: "str | None", sender: str, recipient: str, start: int, fresh: int
) -> object:
    _contexts[name] = contexts.SecurityContext(
        _raw(secret),
        _raw(sender),
        _raw(recipient),
        sequence.SenderSequence(RamSequence(start)),
        _raw(salt),
        _raw(id_context),
        fresh=bool(fresh),
    )
    _exchanges.clear()
    gc.collect()
    return None


def nonce(name: str, piv_id: str, piv: str) -> object:
    return _hex(_contexts[name].nonce(_raw(piv_id), _raw(piv)))


def aad(name: str, kid: str, piv: str) -> object:
    length = _contexts[name].fill_aad(_raw(kid), _raw(piv))
    return _hex(_contexts[name].aad[:length])


def option_encode(piv: str, kid: "str | None", kid_context: "str | None") -> object:
    return _hex(option.encode(_raw(piv), _raw(kid), _raw(kid_context)))


def option_decode(value: str) -> object:
    return [_hex(part) for part in option.decode(_raw(value))]


def pack(code: int, options: "list[list[object]]", payload: str) -> object:
    return _hex(option.pack(code, _options_in(options), _raw(payload), 0))


def unpack(plain: str) -> object:
    code, options, payload = option.unpack(bytearray(bytes.fromhex(plain)), len(plain) // 2)
    return [code, _options_out(options), _hex(payload)]


def find_context(names: "list[str]", options: "list[list[object]]") -> object:
    found = message.find_context([_contexts[name] for name in names], _options_in(options))
    return [name for name in names if _contexts[name] is found]


def exchange(kid: str, piv: str, nonce_free: int, observe: int) -> object:
    _exchanges.append(message.Exchange(_raw(kid), _raw(piv), nonce_free=bool(nonce_free), observe=bool(observe)))
    return len(_exchanges) - 1


def protect_request(name: str, code: int, options: "list[list[object]]", payload: str) -> object:
    code, outer, text, made = message.protect_request(_contexts[name], code, _options_in(options), _raw(payload))
    _exchanges.append(made)
    return [code, _options_out(outer), _hex(text), len(_exchanges) - 1]


def unprotect_request(name: str, options: "list[list[object]]", payload: str) -> object:
    """Code, options, payload, exchange; with the error's name in front, the challenge, where Echo is required."""
    try:
        code, plain_options, plain, made = message.unprotect_request(
            _contexts[name], _options_in(options), _raw(payload)
        )
    except errors.EchoRequiredError as error:
        code, outer, text = message.challenge(_contexts[name], error.exchange)
        return ["EchoRequiredError", code, _options_out(outer), _hex(text)]
    _exchanges.append(made)
    return [code, _options_out(plain_options), _hex(plain), len(_exchanges) - 1]


def protect_response(name: str, index: int, code: int, options: "list[list[object]]", payload: str) -> object:
    code, outer, text = message.protect_response(
        _contexts[name], _exchanges[index], code, _options_in(options), _raw(payload)
    )
    return [code, _options_out(outer), _hex(text)]


def unprotect_response(name: str, index: int, options: "list[list[object]]", payload: str) -> object:
    code, plain_options, plain = message.unprotect_response(
        _contexts[name], _exchanges[index], _options_in(options), _raw(payload)
    )
    return [code, _options_out(plain_options), _hex(plain)]


def flip_every_bit(name: str, index: "int | None", options: "list[list[object]]", payload: str) -> object:
    """Unprotect with each bit of OSCORE option and payload flipped once; return the names of the outcomes."""
    good = _options_in(options)
    value = message.find(good, message.OSCORE)
    whole = bytearray(value + bytes.fromhex(payload))
    outcomes: dict[str, int] = {}
    for bit in range(8 * len(whole)):
        whole[bit >> 3] ^= 1 << (bit & 7)
        bad = [(n, bytes(whole[: len(value)]) if n == message.OSCORE else v) for n, v in good]
        try:
            if index is None:
                message.unprotect_request(_contexts[name], bad, bytes(whole[len(value) :]))
            else:
                message.unprotect_response(_contexts[name], _exchanges[index], bad, bytes(whole[len(value) :]))
            outcome = "accepted"
        except errors.OscoreError as error:
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        whole[bit >> 3] ^= 1 << (bit & 7)
    return outcomes


def window(fresh: int, steps: "list[list[object]]") -> object:
    """Run ["new", n] (accept if new) and ["restart", n] steps; return each decision."""
    tested = replay.ReplayWindow(fresh=bool(fresh))
    decisions = []
    for kind, number in steps:
        if kind == "restart":
            tested.restart(number)
        else:
            new = tested.is_new(number)
            if new:
                tested.accept(number)
            decisions.append(new)
    return decisions


def store(path: str, action: str, *numbers: int) -> object:
    """`create`; `take` some numbers with a step; `load`; `reserve` up to a number after loading."""
    tested = sequence.FileSequenceStore(path)
    if action == "create":
        return tested.create()
    if action == "load":
        return tested.load()
    if action == "reserve":
        tested.load()
        return tested.reserve(numbers[0])
    sender = sequence.SenderSequence(tested, numbers[0])
    return [sender.take() for _ in range(numbers[1])]


def take_at(start: int, count: int) -> object:
    sender = sequence.SenderSequence(RamSequence(start))
    return [sender.take() for _ in range(count)]


def nonce_storm(seed: int, steps: int) -> object:
    """Two endpoints talk, repeat, replay and restart at random; count (key, nonce) pairs that encrypted more than once.

    `restarts` of an endpoint lose everything but the store, as a power cut does.
    """
    random.seed(seed)
    stores = [RamSequence(0), RamSequence(0)]
    ends = [_storm_end(0, stores, fresh=True), _storm_end(1, stores, fresh=True)]
    heard = [[], []]  # type: ignore[var-annotated] # per endpoint, every request that was on its way to it
    counts = {"sealed": 0, "twice": 0, "restarts": 0, "challenges": 0, "refused": 0}
    sealed: set[tuple[int, bytes]] = set()
    for _ in range(steps):
        gc.collect()  # otherwise what we remember is spread over the whole heap and the set finds no room to grow
        asking = random.randrange(2)
        end, peer = ends[asking], ends[1 - asking]
        if random.randrange(12) == 0:
            ends[asking] = _storm_end(asking, stores, fresh=False)
            counts["restarts"] += 1
            continue
        if heard[asking] and random.randrange(3) == 0:
            options, payload = random.choice(heard[asking])  # a replay
        else:
            observe = [(6, b"")] if random.randrange(2) else []
            echo = [(message.ECHO, peer.echo)] if random.randrange(2) else []
            _, options, payload, _ = message.protect_request(end, 1, observe + echo, b"\x00" * random.randrange(40))
            _count(sealed, counts, asking, end)
            heard[asking].append((options, bytes(payload)))
            del heard[asking][:-20]
        try:
            _, _, _, made = message.unprotect_request(peer, options, payload)
        except errors.EchoRequiredError as error:
            message.challenge(peer, error.exchange)
            _count(sealed, counts, 1 - asking, peer)
            counts["challenges"] += 1
        except errors.OscoreError:
            counts["refused"] += 1
        else:
            for _ in range(random.randrange(4)):
                message.protect_response(peer, made, 0x45, [], b"")
                _count(sealed, counts, 1 - asking, peer)
    return counts


def _storm_end(index: int, stores: "list[RamSequence]", *, fresh: bool) -> "contexts.SecurityContext":
    sender = sequence.SenderSequence(stores[index], 5)
    return contexts.SecurityContext(bytes(16), bytes([index]), bytes([1 - index]), sender, fresh=fresh)


def _count(
    sealed: "set[tuple[int, bytes]]", counts: "dict[str, int]", key: int, end: "contexts.SecurityContext"
) -> None:
    """Note the nonce that the endpoint used last: it is still in its buffer."""
    used = (key, bytes(end._nonce))
    counts["sealed"] += 1
    counts["twice"] += used in sealed
    sealed.add(used)


def sha512(data: str) -> object:
    return _hex(sha512_module.sha512(_raw(data)))


def ed25519_verify(public_key: str, signed: str, signature: str) -> object:
    gc.collect()
    return ed25519.verify(_raw(public_key), _raw(signed), _raw(signature))


def error_answers() -> object:
    kinds = (errors.DecodeError, errors.ContextNotFoundError, errors.ReplayError, errors.DecryptionError)
    return {kind.__name__: [kind.code, kind.diagnostic.decode()] for kind in kinds}


def main() -> None:
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        call = json.loads(line)
        try:
            answer = {"ok": globals()[call[0]](*call[1:])}
        except (errors.OscoreError, ValueError, MemoryError) as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")


main()
