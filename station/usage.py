"""What was typed cannot be used: a slot that is not there, an order that cannot be read.

No state of the station or of the line, hence no fault: whoever typed it types it again. Must never stand for a setting.
"""

from __future__ import annotations


class UsageError(Exception):
    """One sentence that names what was typed and what is wrong with it; the command ends with exit code 2."""
