r"""OSCORE (RFC 8613) for the node, client and server role: AES-CCM-16-64-128, HKDF-SHA-256, Appendix B.1 recovery.

    sequence = SenderSequence(FileSequenceStore("oscore"))
    context = SecurityContext(secret, b"\x01", b"\x02", sequence)
    code, options, payload, exchange = protect_request(context, 0x02, [(11, b"t")], pack)

Import from the modules: nothing is re-exported, so that a board loads only what it uses.
"""
