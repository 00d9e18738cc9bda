"""What the fuzzer may not ask: it would saw off the branch it sits on."""

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """Its own user: changed or deleted, by another admin that it has made, all that follows would be answered 401."""
    return (case.path_parameters or {}).get("username") != "schemathesis"
