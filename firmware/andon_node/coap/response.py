"""What a request ends with: a response, or none and why."""

from andon_node.coap import message as coap


class CoapError(Exception):
    """A request that got no response."""


class RequestTimeoutError(CoapError):
    """The peer did not answer."""


class RequestResetError(CoapError):
    """The peer rejected the message with a Reset."""


class Response:
    """What a handler answers.

    Attributes:
        observable: Whether the resource may be observed [RFC 7641].
        extra: Further options as (number, value).
    """

    def __init__(self, code, payload=b"", content_format=None, max_age=None):
        self.code = code
        self.payload = payload
        self.content_format = content_format
        self.max_age = max_age
        self.observable = False
        self.extra: list = []

    def options(self):
        """The options that go with the payload, in ascending order."""
        options = list(self.extra)
        if self.content_format is not None:
            options.append((coap.CONTENT_FORMAT, coap.uint(self.content_format)))
        if self.max_age is not None:
            options.append((coap.MAX_AGE, coap.uint(self.max_age)))
        if len(options) > 1:
            options.sort(key=_number)
        return options


def _number(option):
    return option[0]
