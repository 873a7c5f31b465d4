"""The `openai` package: chat, streams, tools, schemas, vectors, errors, cancellation, responses."""

import openai
from pydantic import BaseModel, Field

from node_state import BASE, KEY, MODEL, await_idle, refused, running

client = openai.OpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0)
said = [{"role": "user", "content": "What is the capital of France?"}]
greedy = {"model": MODEL, "messages": said, "temperature": 0, "max_tokens": 16}

answer = client.chat.completions.create(**greedy)
text = answer.choices[0].message.content
assert text and answer.usage.total_tokens > 16, answer
assert answer.choices[0].finish_reason in ("stop", "length")

options = {"include_usage": True}
chunks = list(client.chat.completions.create(**greedy, stream=True, stream_options=options))
deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
assert "".join(deltas) == text, deltas
assert chunks[-1].usage.total_tokens == answer.usage.total_tokens and not chunks[-1].choices

no_v1 = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)
assert no_v1.chat.completions.create(**greedy).choices[0].message.content == text


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=20)


class Place(BaseModel):
    city: str = Field(max_length=20)
    degrees: int


tools = [openai.pydantic_function_tool(Weather)]
asked = [{"role": "user", "content": "The weather in Paris?"}]
required = {"model": MODEL, "messages": asked, "tools": tools, "tool_choice": "required"}
required |= {"seed": 1, "max_tokens": 200, "parallel_tool_calls": False}
with client.chat.completions.stream(**required) as stream:
    for _ in stream:
        pass
    call = stream.get_final_completion().choices[0].message.tool_calls[0]
assert call.function.name == "Weather" and isinstance(call.function.parsed_arguments, Weather)
whole = client.chat.completions.create(**required).choices[0]
assert whole.finish_reason == "tool_calls" and whole.message.tool_calls[0].id
result = {"role": "tool", "tool_call_id": whole.message.tool_calls[0].id, "content": "sunny"}
turn = client.chat.completions.create(
    model=MODEL, messages=asked + [whole.message, result], tools=tools, max_tokens=8
)
assert turn.choices[0].message.role == "assistant"

parsed = client.chat.completions.parse(
    model=MODEL, messages=asked, response_format=Place, seed=1, max_tokens=200
)
assert isinstance(parsed.choices[0].message.parsed, Place)

likely = client.chat.completions.create(**greedy, logprobs=True, top_logprobs=2)
token = likely.choices[0].logprobs.content[0]
assert token.logprob <= 0 and len(token.top_logprobs) == 2 and bytes(token.bytes)

vectors = client.embeddings.create(model=MODEL, input=["one", "two"])
assert len(vectors.data) == 2 and len(vectors.data[0].embedding) > 100
plain = client.embeddings.create(model=MODEL, input="one", encoding_format="float")
near = zip(plain.data[0].embedding, vectors.data[0].embedding)
assert all(abs(a - b) < 1e-6 for a, b in near)

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL

response = client.responses.create(model=MODEL, input="Say hello", max_output_tokens=8)
assert response.output_text and response.usage.total_tokens > 8
kinds = [
    event.type
    for event in client.responses.create(
        model=MODEL, input="Say hello", max_output_tokens=8, stream=True
    )
]
assert kinds[0] == "response.created", kinds
assert kinds[-1] in ("response.completed", "response.incomplete"), kinds

gone_on = client.completions.create(model=MODEL, prompt="1, 2, 3,", temperature=0, max_tokens=4)
assert gone_on.choices[0].text.startswith(" 4")

create = client.chat.completions.create
unknown = refused(openai.NotFoundError, lambda: create(model="nonesuch", messages=said))
assert unknown.code == "model_not_found"
stranger = openai.OpenAI(base_url=BASE + "/v1", api_key="wrong", max_retries=0)
wrong = refused(openai.AuthenticationError, lambda: stranger.models.list())
assert wrong.code == "invalid_api_key"
long = [{"role": "user", "content": "word " * 20000}]
too_long = refused(openai.BadRequestError, lambda: create(model=MODEL, messages=long))
assert too_long.code == "context_length_exceeded"

stream = create(
    model=MODEL, messages=said, stream=True, max_tokens=5000, logit_bias={"0": -100, "2": -100}
)
next(iter(stream))
assert running() == 1
stream.close()
await_idle()
print("ok")
