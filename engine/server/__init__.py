"""The engine behind the OpenAI-compatible HTTP interface. `application` needs starlette (the extra ``serve``)."""
