"""A second implementation of the format of event files: framed protocol buffers with CRC-32C sums."""

import struct


def crc32c(data):
    """Castagnoli's sum, bit by bit, masked as the format wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path):
    """The events of a file, each sum checked."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        content = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == crc32c(content)
        found.append(Event.FromString(content))
        data = data[16 + length :]
    return found


def curves(folder):
    """What TensorBoard shows: the files in the order of their names; a beginning drops what is not before its step."""
    shown = []
    for path in sorted(folder.iterdir()):
        assert "tfevents" in path.name
        first, *rest = events(path)
        assert first.file_version == "brain.Event:2"
        for event in rest:
            if event.HasField("session_log"):
                shown = [one for one in shown if one[1] < event.step]
            shown += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return {tag: [(step, value) for name, step, value in shown if name == tag] for tag, _, _ in shown}
