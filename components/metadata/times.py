"""Times of ML Metadata, which are whole milliseconds since 1970 in UTC."""

import datetime


def from_milliseconds(milliseconds: int) -> datetime.datetime:
    """The time, in UTC."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)


def in_iso_8601(time: datetime.datetime) -> str:
    """The time as JSON has it, such as '2026-11-24T21:34:55.491+00:00'."""
    return time.isoformat(timespec="milliseconds")
