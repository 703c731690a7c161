"""Every error that the model names for the twelve queue operations reaches a client as itself, through either door."""

from __future__ import annotations

import pytest
from queue_calls import ARN, make_queue, make_stream
from test_queues import ON_A_QUEUE

from streamstore.kinesis.faults import Faults
from streamstore.kinesis.operations import OPERATIONS

STREAM = {"StreamARN": ARN, "StartingPosition": {"Type": "LATEST"}}
CALLS = {**ON_A_QUEUE, "create_queue": {"QueueName": "another", "StreamConfigurationList": [STREAM]}, "list_queues": {}}


def test_every_error_of_the_model_arrives(kinesis, service):
    """As the class that botocore has for it, with its message; and the operation works once nothing is wrong. (That the
    table names the errors of the model, test_table.py shows.)
    """
    make_stream(kinesis)
    arn = make_queue(kinesis)
    service.faults = Faults()
    names = kinesis.meta.method_to_api_mapping
    assert {names[method] for method in CALLS} == {name for name in OPERATIONS if "Queue" in name}
    seen = set()
    for method, options in CALLS.items():
        for shape in OPERATIONS[names[method]].errors:
            service.faults.fail_some(names[method], 1.0, shape)
            with pytest.raises(getattr(kinesis.exceptions, shape)) as raised:
                getattr(kinesis, method)(**options, **({"QueueARN": arn} if method in ON_A_QUEUE else {}))
            assert raised.value.response["Error"]["Message"] == "a fault that a test asked for"
            status = raised.value.response["ResponseMetadata"]["HTTPStatusCode"]
            assert status == (500 if shape == "InternalFailureException" else 400)
            seen.add((method, shape))
    assert len(CALLS) == 12
    assert len(seen) > 5 * len(CALLS)
    service.faults.clear()
    assert kinesis.describe_queue(QueueARN=arn)["QueueDescription"]["QueueStatus"] == "ACTIVE"
