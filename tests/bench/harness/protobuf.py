"""As much of protobuf's wire format as etcd's small messages need."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def length_delimited(number, data):
    """Encodes a field of bytes, a text or a message, shorter than 128 bytes."""
    if len(data) > 127:
        raise ValueError("a longer field would need more bytes for its length")
    return bytes([number << 3 | _BYTES, len(data)]) + data


def fields(message):
    """Decodes one level of a message: {field number: integer or bytes}."""
    found, at = {}, 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            found[number], at = _varint(message, at)
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind} in field {number}")
        found[number], at = message[at : at + length], at + length
    return found


def _varint(message, at):
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
