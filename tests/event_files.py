"""An independent reader of TensorBoard event files: framed protocol buffers with CRC-32C checksums."""

import struct


def crc32c(data):
    """Return the CRC-32C (Castagnoli) checksum, computed bit by bit and masked as the format requires."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path):
    """Return the events of a file, after checking every checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, file_events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        content = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == crc32c(content)
        file_events.append(Event.FromString(content))
        data = data[16 + length :]
    return file_events


def curves(folder):
    """Return the curves that TensorBoard shows for a folder.

    Files are read in the order of their names. A session start at a step discards earlier points from that step on.
    """
    points = []
    for path in sorted(folder.iterdir()):
        assert "tfevents" in path.name
        header, *body = events(path)
        assert header.file_version == "brain.Event:2"
        for event in body:
            if event.HasField("session_log"):
                points = [point for point in points if point[1] < event.step]
            points += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return {tag: [(step, value) for name, step, value in points if name == tag] for tag, _, _ in points}
