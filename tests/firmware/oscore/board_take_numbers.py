"""Runs on the MicroPython VM: take sequence numbers from the store at a path and print them until killed."""

import sys

from andon_node.oscore.sequence import FileSequenceStore, SenderSequence  # type: ignore[import-not-found] # on the board


def main(path: str, step: int, create: str) -> None:
    store = FileSequenceStore(path)
    if create == "create":
        store.create()
    sequence = SenderSequence(store, step)
    while True:
        sys.stdout.write(str(sequence.take()) + "\n")


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
