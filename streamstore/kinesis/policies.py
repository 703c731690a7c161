"""Resource policies: stored and checked for form; whoever authenticates callers asks `allows`."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

from streamstore.kinesis import errors, resources, settings
from streamstore.kinesis.call import Call, Request

POLICY_SIZE_MAX = 20 << 10
NESTING_MAX = 16


def put(call: Call, request: Request) -> None:
    found = resources.find(call, request["ResourceARN"])
    policy = request["Policy"]
    _check(policy)
    settings.change(found.stream, lambda kept: found.set_policy(kept, policy))


def get(call: Call, request: Request) -> dict[str, Any]:
    found = resources.find(call, request["ResourceARN"])
    return {"Policy": found.policy(call.settings(found.stream)) or "{}"}


def delete(call: Call, request: Request) -> None:
    found = resources.find(call, request["ResourceARN"])
    if not found.policy(call.settings(found.stream)):
        raise errors.not_found(f"No resource policy found for resource ARN {request['ResourceARN']}")
    settings.change(found.stream, lambda kept: found.set_policy(kept, ""))


def _check(policy: str) -> None:
    if len(policy) > POLICY_SIZE_MAX:
        raise errors.invalid(f"The policy is longer than {POLICY_SIZE_MAX} characters.")
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError):
        raise errors.invalid("The policy is no JSON document.") from None
    statements = document.get("Statement") if isinstance(document, dict) else None
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        raise errors.invalid("The policy has no Statement.")
    for statement in statements:
        _check_statement(statement)


def _check_statement(statement: Any) -> None:
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        raise errors.invalid("A statement of the policy has no Effect of Allow or Deny.")
    for name in ("Principal", "Action"):
        if name not in statement:
            raise errors.invalid(f"A statement of the policy has no {name}.")
    if "Condition" in statement:
        raise errors.invalid("A statement of the policy has a Condition, which streamstore does not evaluate.")


def verdict(policy: str, principal: str, action: str, arn: str) -> str:
    """What a policy that was checked says of a principal doing an action (`PutRecord`) to an ARN: "Allow", "Deny" or
    nothing. A Deny wins.
    """
    if not policy:
        return ""
    statements = json.loads(policy)["Statement"]
    statements = [statements] if isinstance(statements, dict) else statements
    effects = {item["Effect"] for item in statements if _meets(item, principal, action, arn)}
    return "Deny" if "Deny" in effects else "Allow" if effects else ""


def _meets(statement: dict[str, Any], principal: str, action: str, arn: str) -> bool:
    who = statement["Principal"]
    if isinstance(who, dict):
        who = who.get("AWS", [])
    if not any(name in ("*", principal) for name in _listed(who)):
        return False
    if not any(fnmatch.fnmatchcase(f"kinesis:{action}".lower(), name.lower()) for name in _listed(statement["Action"])):
        return False
    named = _listed(statement.get("Resource", "*"))
    return any(fnmatch.fnmatchcase(arn, name) for name in named)


def _listed(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
