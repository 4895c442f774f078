"""The peer: a paho-mqtt subscriber at QoS 1 that decodes each pack; it keeps nothing.

Run: python -m bench.gateway.paho_subscriber PORT. Prints `ready`, and the number of packs on SIGUSR2.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import cbor2
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


class Subscriber:
    """Counts what it could decode."""

    def __init__(self) -> None:
        self.packs = 0

    def on_connect(self, client: mqtt.Client, *_: Any) -> None:
        """Subscribe to the packs of all nodes."""
        client.subscribe("bench/+", qos=1)

    def on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        """Decode and count."""
        if len(cbor2.loads(message.payload)):
            self.packs += 1


def main() -> None:
    """Subscribe until killed."""
    subscriber = Subscriber()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="subscriber")
    client.on_message = subscriber.on_message
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_connect = subscriber.on_connect
    signal.signal(signal.SIGUSR2, lambda *_: print(f"count {subscriber.packs}", flush=True))
    client.connect("127.0.0.1", int(sys.argv[1]), keepalive=0)
    client.loop_forever()


if __name__ == "__main__":
    main()
