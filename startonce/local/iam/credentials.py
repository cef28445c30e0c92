"""Access keys of roles: who is given which, and whose a key is.

Moto's STS keeps them, so ``sts:GetCallerIdentity`` knows them too.
"""

from __future__ import annotations

import random
import string
import threading
from dataclasses import dataclass

from moto.sts.models import AssumedRole, sts_backends

_TEMPORARY = "ASIA"
_DURATION = 3600


@dataclass(frozen=True)
class Session:
    """A role, assumed.

    Attributes:
        arn: ``arn:aws:sts::<account>:assumed-role/<role name>/<session name>``.
        policy: the session policy that ``AssumeRole`` was given, or "".
    """

    role_arn: str
    arn: str
    policy: str = ""

    @property
    def account(self) -> str:
        """The account that the role belongs to."""
        return self.role_arn.split(":")[4]


class Credentials:
    """Gives keys out and remembers them. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[tuple[str, str | None], dict[str, str]] = {}
        self._sessions: dict[str, Session] = {}

    def for_role(self, role_arn: str, session_name: str | None = None) -> dict[str, str]:
        """The ``AWS_*`` variables with which a role's calls are signed; the same for the same role
        and session name.

        Args:
            session_name: as it stands at the end of the caller's ARN: for a function its name; by
                default letters without a meaning, as Step Functions has it.
        """
        key = (role_arn, session_name)
        with self._lock:
            if key not in self._given:
                self._given[key] = self._assume(role_arn, session_name or _letters())
            return dict(self._given[key])

    def session_for(self, role_arn: str, session_name: str | None = None) -> Session:
        """The session to which :meth:`for_role` gives keys."""
        return self._sessions[self.for_role(role_arn, session_name)["AWS_ACCESS_KEY_ID"]]

    def role_of(self, access_key_id: str) -> str | None:
        """The ARN of the role that the key was given to; None for a key from elsewhere."""
        session = self.session_of(access_key_id)
        return session.role_arn if session else None

    def session_of(self, access_key_id: str) -> Session | None:
        """As :meth:`role_of`, with all that is known. Roles assumed over the API count too."""
        session = self._sessions.get(access_key_id)
        if session is None and access_key_id.startswith(_TEMPORARY):
            session = self._assumed_over_the_api(access_key_id)
        return session

    def _assume(self, role_arn: str, session_name: str) -> dict[str, str]:
        _, partition, _, _, account, _ = role_arn.split(":", 5)
        assumed = sts_backends[account][partition].assume_role(
            region_name="us-east-1",
            role_session_name=session_name,
            role_arn=role_arn,
            policy="",
            duration=_DURATION,
            external_id="",
        )
        self._remember(assumed)
        return {
            "AWS_ACCESS_KEY_ID": assumed.access_key_id,
            "AWS_SECRET_ACCESS_KEY": assumed.secret_access_key,
            "AWS_SESSION_TOKEN": assumed.session_token,
        }

    def _assumed_over_the_api(self, access_key_id: str) -> Session | None:
        for account in list(sts_backends.values()):
            for backend in list(account.values()):
                assumed = backend.get_assumed_role_from_access_key(access_key_id)
                if assumed is not None:
                    return self._remember(assumed)
        return None

    def _remember(self, assumed: AssumedRole) -> Session:
        session = Session(assumed.role_arn, assumed.arn, assumed.policy or "")
        self._sessions[assumed.access_key_id] = session
        return session


def _letters() -> str:
    return "".join(random.choices(string.ascii_letters, k=32))
