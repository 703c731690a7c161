"""Every command of `aws kinesis`, one after the other in one process: python every_cli_operation.py ENDPOINT.

Run by the interpreter that awscli is installed in. Prints "ok" once all that this version has were used and answered.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

from awscli.clidriver import create_clidriver

SHARD = "shardId-00000000000"
USED: set[str] = set()


def aws(verb: str, *options: str) -> Any:
    """What the command prints, out of JSON; it must end with status 0."""
    USED.add(verb if verb != "wait" else f"wait {options[0]}")
    out, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = create_clidriver().main(["--endpoint-url", sys.argv[1], "--output", "json", "kinesis", verb, *options])
    out.flush()
    printed = out.buffer.getvalue().decode()
    assert status == 0, f"{verb} ended with {status}: {errors.getvalue()[-500:]}"
    return json.loads(printed) if printed.strip() else None


def commands() -> set[str]:
    """The commands that this version of the CLI has."""
    service = create_clidriver()._get_command_table()["kinesis"]
    table = service._get_command_table()
    waiters = table["wait"]._build_subcommand_table() if hasattr(table["wait"], "_build_subcommand_table") else []
    return set(table) - {"wait"} | {f"wait {name}" for name in waiters}


def streams() -> str:
    """Streams, their settings and tags; the ARN of the one that is left."""
    name = ("--stream-name", "cli")
    aws("create-stream", *name, "--shard-count", "1")
    aws("wait", "stream-exists", *name)
    described = aws("describe-stream", *name)["StreamDescription"]
    assert described["StreamStatus"] == "ACTIVE"
    arn: str = described["StreamARN"]
    assert aws("describe-stream-summary", *name)["StreamDescriptionSummary"]["OpenShardCount"] == 1
    assert aws("list-streams")["StreamNames"] == ["cli"]
    aws("increase-stream-retention-period", *name, "--retention-period-hours", "48")
    aws("decrease-stream-retention-period", *name, "--retention-period-hours", "24")
    aws("enable-enhanced-monitoring", *name, "--shard-level-metrics", "IncomingBytes")
    aws("disable-enhanced-monitoring", *name, "--shard-level-metrics", "ALL")
    aws("add-tags-to-stream", *name, "--tags", "a=1,b=2")
    aws("remove-tags-from-stream", *name, "--tag-keys", "b")
    aws("tag-resource", "--resource-arn", arn, "--tags", "c=3")
    aws("untag-resource", "--resource-arn", arn, "--tag-keys", "a")
    assert aws("list-tags-for-stream", *name)["Tags"] == [{"Key": "c", "Value": "3"}]
    assert aws("list-tags-for-resource", "--resource-arn", arn)["Tags"] == [{"Key": "c", "Value": "3"}]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "kinesis:GetRecords",
        "Resource": arn,
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    aws("put-resource-policy", "--resource-arn", arn, "--policy", json.dumps(policy))
    assert "GetRecords" in aws("get-resource-policy", "--resource-arn", arn)["Policy"]
    aws("delete-resource-policy", "--resource-arn", arn)
    aws("update-max-record-size", "--stream-arn", arn, "--max-record-size-in-ki-b", "2048")
    return arn


def records() -> None:
    """In, out, and through a split and a merge."""
    name = ("--stream-name", "cli")
    put = aws("put-record", *name, "--partition-key", "k", "--data", "hello")
    assert put["ShardId"] == f"{SHARD}0"
    more = aws("put-records", *name, "--records", "Data=b25l,PartitionKey=k", "Data=dHdv,PartitionKey=k")
    assert more["FailedRecordCount"] == 0
    begin = ("--shard-id", f"{SHARD}0", "--shard-iterator-type", "TRIM_HORIZON")
    iterator = aws("get-shard-iterator", *name, *begin)["ShardIterator"]
    assert len(aws("get-records", "--shard-iterator", iterator, "--limit", "2")["Records"]) == 2
    aws("split-shard", *name, "--shard-to-split", f"{SHARD}0", "--new-starting-hash-key", str(1 << 127))
    aws("merge-shards", *name, "--shard-to-merge", f"{SHARD}1", "--adjacent-shard-to-merge", f"{SHARD}2")
    assert len(aws("list-shards", *name)["Shards"]) == 4
    aws("update-shard-count", *name, "--target-shard-count", "2", "--scaling-type", "UNIFORM_SCALING")


def settings(arn: str) -> None:
    """Encryption, consumers, modes, the account."""
    name = ("--stream-name", "cli")
    key = ("--encryption-type", "KMS", "--key-id", "alias/any")
    aws("start-stream-encryption", *name, *key)
    aws("stop-stream-encryption", *name, *key)
    consumer = ("--stream-arn", arn, "--consumer-name", "c")
    aws("register-stream-consumer", *consumer)
    assert aws("describe-stream-consumer", *consumer)["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"
    assert len(aws("list-stream-consumers", "--stream-arn", arn)["Consumers"]) == 1
    aws("deregister-stream-consumer", *consumer)
    assert aws("describe-limits")["OpenShardCount"] == 2
    aws("describe-account-settings")
    aws("update-account-settings", "--minimum-throughput-billing-commitment", "Status=ENABLED")
    aws("update-stream-mode", "--stream-arn", arn, "--stream-mode-details", "StreamMode=ON_DEMAND")
    aws("update-stream-warm-throughput", "--stream-arn", arn, "--warm-throughput-mi-bps", "10")
    aws("delete-stream", *name, "--enforce-consumer-deletion")
    aws("wait", "stream-not-exists", *name)


def main() -> None:
    """All of it; whatever this version has beside it is named."""
    arn = streams()
    records()
    settings(arn)
    left = commands() - USED
    assert not left, f"not used: {sorted(left)}"
    print("ok", len(USED))


main()
