"""Error codes that cross the network or the signer's socket: stable, part of the contract, each with its meaning."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """One code a refusal; texts beside them are for people and may change."""

    MALFORMED = "malformed"  # not a message of this protocol
    TOO_LARGE = "too-large"  # beyond the documented limit
    NOT_AUTHORISED = "not-authorised"  # this peer or role may not ask this
    WRONG_ENVIRONMENT = "wrong-environment"  # another environment's statement, key or order
    WRONG_ROOT = "wrong-root"  # made under another trust root
    STATEMENT_INVALID = "statement-invalid"  # signature or form does not hold
    PROOF_INVALID = "proof-invalid"  # proof of possession does not verify
    HANDSHAKE_REFUSED = "handshake-refused"  # what a device sent does not open, or is not for this handshake
    HANDSHAKE_UNKNOWN = "handshake-unknown"  # over, ended, or of another service or station: begin anew
    CLOUD_KEY_DIFFERS = "cloud-key-differs"  # the order names another cloud key than the device service has
    DEVICE_SERVICE_AWAY = "device-service-away"  # the registry answers, and what devices connect to does not
    DEVICE_SERVICE_UNABLE = "device-service-unable"  # it answers, and it or its signer does not do its part in time
    REPORT_INVALID = "report-invalid"  # closing report does not verify or differs from the order
    HANDSHAKE_MISSING = "handshake-missing"  # the order wants one: no report of it that holds, and no waiver
    CHALLENGE_UNKNOWN = "challenge-unknown"  # not issued here, expired, for another job, or used
    ORDER_UNKNOWN = "order-unknown"  # import the order first
    ORDER_CONFLICT = "order-conflict"  # this order id is known with other bytes
    ORDER_REFUSES = "order-refuses"  # the order does not permit this statement
    ORDER_NOT_APPROVED = "order-not-approved"  # too few approvals, or of people whom the root does not name
    ORDER_EXHAUSTED = "order-exhausted"  # quantity or allowance is used up
    LEASE_NEEDED = "lease-needed"  # the lease is used up or over: renew it at the registry
    LEASE_CONFLICT = "lease-conflict"  # the signer's memory is not what the registry has seen of it
    LEASE_EXCEEDED = "lease-exceeded"  # more pins of this station than its leases allow
    ROSTER_CONFLICT = "roster-conflict"  # not newer than the roster that was signed last
    DEVICE_SCRAPPED = "device-scrapped"  # revoked for good
    ACT_NOT_APPROVED = "act-not-approved"  # too few officers
    ACT_EXPIRED = "act-expired"  # its time is over, or has not come
    ACT_USED = "act-used"  # done before
    ACT_CONFLICT = "act-conflict"  # approved for a device that is otherwise by now
    STOPPED = "stopped"  # the signer signs nothing for devices until an act lifts its stop
    KEY_WEAK = "key-weak"  # vetting did not say ok
    DEVICE_HAS_OTHER_KEY = "device-has-other-key"  # this device id is known with another key
    KEY_ON_OTHER_DEVICE = "key-on-other-device"  # this key is known under another device id
    PINNED_UNDER_OTHER_JOB = "pinned-under-other-job"  # same device and key; stored statement comes with the answer
    JOB_BYTES_DIFFER = "job-bytes-differ"  # same job, other bytes
    NOT_PINNED = "not-pinned"  # no pin for this device
    CHECKPOINT_CONFLICT = "checkpoint-conflict"  # not an extension of the last checkpoint signed
    TOKEN_UNAVAILABLE = "token-unavailable"  # noqa: S105 - the PKCS#11 token does not answer
    TOKEN_PIN_WRONG = "token-pin-wrong"  # noqa: S105 - never retried
    STORE_FAILED = "store-failed"  # the signer's or registry's own disk
    ACCESS_TOKEN_NEEDED = "access-token-needed"  # noqa: S105 - say who you are first
    ACCESS_TOKEN_INVALID = "access-token-invalid"  # noqa: S105 - nobody's, over, or withdrawn
    DPOP_INVALID = "dpop-invalid"  # the proof of the access token's key does not hold, or was used before
    DPOP_NONCE = "dpop-nonce"  # prove it again with the nonce that comes with the answer
    SCOPE_MISSING = "scope-missing"  # the access token does not reach that far
    SECOND_FACTOR_NEEDED = "second-factor-needed"  # sign in again
    CLIENT_UNKNOWN = "client-unknown"  # the trust root names no such station
    ASSERTION_INVALID = "assertion-invalid"  # the client assertion's form or signature does not hold
    ASSERTION_TIME = "assertion-time"  # the client assertion is over or not begun: two clocks differ
    ASSERTION_USED = "assertion-used"  # the client assertion was used before
    DEVICE_OF_OTHERS = "device-of-others"  # no order of this station made the device
    RECORD_UNTRUSTED = "record-untrusted"  # what is stored does not verify: nothing of it is shown
    SIGN_IN_REFUSED = "sign-in-refused"  # id, password or code; which one is not said
    TOO_MANY_TRIES = "too-many-tries"  # nothing was tried: wait, or sign in from where you did before
    PASSWORD_WEAK = "password-weak"  # noqa: S105 - not long or not different enough
    USER_UNKNOWN = "user-unknown"  # no such user
    USER_CONFLICT = "user-conflict"  # another user's badge, one too many, or changed meanwhile
    TOKEN_UNKNOWN = "token-unknown"  # noqa: S105 - no such API token of this user
    NOT_FOUND = "not-found"  # no such route
    TOO_MANY_REQUESTS = "too-many-requests"  # this client asks too often: Retry-After says when to ask again
    INTERNAL = "internal"  # a bug on that side
