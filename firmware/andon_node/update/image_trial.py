"""Whether a whole image is on trial, as the chip's bootloader has it."""

import os

from andon_node import flash

# Label of the partition whose image is on trial.
_TRIAL = "image_trial.txt"


def begin(label):
    """The image of this partition is the next to run, on trial."""
    flash.write_atomically(_TRIAL, label)


def on_trial():
    """Whether a whole image is on trial; forgets one that the bootloader gave up."""
    try:
        with open(_TRIAL) as file:
            label = file.read()
    except OSError:
        return False
    from esp32 import Partition

    if Partition(Partition.RUNNING).info()[4] == label:  # type: ignore[arg-type]  # the stubs know labels only
        return True
    print("update: the bootloader went back to the image before")
    forget()
    return False


def confirm():
    """Tell the bootloader that the running image works."""
    from esp32 import Partition

    Partition.mark_app_valid_cancel_rollback()
    forget()


def forget():
    """The trial is over, one way or the other."""
    try:
        os.remove(_TRIAL)
    except OSError:
        pass
