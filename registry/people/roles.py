"""What each role may give an API token, and who is in the roster. Which route wants which role, the route says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from registry.access.caller import Role, Scope
from trust.roster import FLOOR_ROLES

ON_THE_FLOOR: Final = frozenset(Role(each) for each in FLOOR_ROLES)
"""Who signs in at stations. Others' verifiers never leave the cloud."""

GRANTS: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    {each: frozenset({Scope.PINS_READ}) for each in Role}  # what writes pins is signed by a station, or by approvers
)
"""What an API token of this role may carry. It never reaches further than its holder's role, whatever it carries."""
