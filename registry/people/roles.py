"""What each role may give an API token, and who is in the roster. Which route wants which role, the route says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from registry.access.caller import Role, Scope
from trust.roster import FLOOR_ROLES

ON_THE_FLOOR: Final = frozenset(Role(each) for each in FLOOR_ROLES)
"""Who signs in at stations. Others' verifiers never leave the cloud."""

PROPOSERS: Final = (Role.LEAD, Role.ENGINEER, Role.SUPPORT)
"""Who may propose a key for a device, which pins nothing."""
_PROPOSES: Final = frozenset({Scope.KEYS_PROPOSE})

GRANTS: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    # What writes pins is signed by a station, or by approvers.
    {each: frozenset({Scope.PINS_READ}) | (_PROPOSES if each in PROPOSERS else frozenset()) for each in Role}
)
"""What an API token of this role may carry. It never reaches further than its holder's role, whatever it carries."""
