"""As much of HPACK (RFC 7541) as a client of one call needs: headers out, `grpc-status` in."""

# Huffman codes (RFC 7541, appendix B) for `grpc-status` and for digits: (code, bits).
_CODES = {
    "-": (0x16, 6), "a": (0x3, 5), "c": (0x4, 5), "g": (0x26, 6), "p": (0x2B, 6), "r": (0x2C, 6),
    "s": (0x8, 5), "t": (0x9, 5), "u": (0x2D, 6),
    "0": (0x0, 5), "1": (0x1, 5), "2": (0x2, 5), "3": (0x19, 6), "4": (0x1A, 6), "5": (0x1B, 6),
    "6": (0x1C, 6), "7": (0x1D, 6), "8": (0x1E, 6), "9": (0x1F, 6),
}  # fmt: skip


def _huffman(text):
    value = bits = 0
    for character in text:
        code, length = _CODES[character]
        value, bits = value << length | code, bits + length
    padding = -bits % 8
    return (value << padding | (1 << padding) - 1).to_bytes((bits + padding) // 8, "big")


_STATUS_NAMES = (b"grpc-status", _huffman("grpc-status"))
# gRPC has the status codes 0 to 16.
_STATUS_VALUES = {
    **{str(code).encode(): code for code in range(17)},
    **{_huffman(str(code)): code for code in range(17)},
}


def encode(headers):
    """Encodes headers as literals that neither use nor fill a table, without Huffman coding."""
    block = b""
    for name, value in headers:
        block += b"\x00" + _string(name) + _string(value)
    return block


def _string(text):
    data = text.encode()
    if len(data) >= 127:
        raise ValueError("longer strings would need more bytes for their length")
    return bytes([len(data)]) + data


def grpc_status(block):
    """Returns the gRPC status code in a header block, or None if it has none that can be read.

    The peer must have been told to use no dynamic table (SETTINGS_HEADER_TABLE_SIZE 0).
    """
    try:
        return _find_status(block)
    except IndexError:
        return None


def _find_status(block):
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # a field of the static table, which has no gRPC status
            _, at = _integer(block, at, 7)
        elif first & 0xE0 == 0x20:  # a new size of the dynamic table
            _, at = _integer(block, at, 5)
        else:
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name = b""
            if index == 0:
                name, at = _data(block, at)
            value, at = _data(block, at)
            if name in _STATUS_NAMES:
                return _STATUS_VALUES.get(value)
    return None


def _integer(block, at, bits):
    """Reads an integer with a prefix of `bits` bits. Returns it and the place behind it."""
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte, at = block[at], at + 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _data(block, at):
    """Reads a string as it is, coded or not. Returns it and the place behind it."""
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length
