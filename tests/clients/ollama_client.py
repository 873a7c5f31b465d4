"""The `ollama` package: chat, streams, tools, schemas, vectors, errors, cancellation."""

import json

import ollama

from node_state import BASE, KEY, MODEL, await_idle, refused, running

client = ollama.Client(host=BASE, headers={"authorization": "Bearer " + KEY})
said = [{"role": "user", "content": "What is the capital of France?"}]
greedy = {"temperature": 0, "num_predict": 16}

answer = client.chat(model=MODEL, messages=said, options=greedy)
text = answer.message.content
assert text and answer.done and answer.eval_count <= 16, answer
parts = list(client.chat(model=MODEL, messages=said, options=greedy, stream=True))
assert "".join(part.message.content for part in parts) == text
assert parts[-1].done and parts[-1].done_reason in ("stop", "length")

whole = client.generate(model=MODEL, prompt=said[0]["content"], options=greedy)
assert whole.response == text


def get_weather(city: str) -> str:
    """Get the weather.

    Args:
      city: the city
    """
    return "sunny in " + city


asked = client.chat(model=MODEL, messages=said, tools=[get_weather], options={"num_predict": 30})
for call in asked.message.tool_calls or []:
    assert call.function.name == "get_weather" and isinstance(call.function.arguments, dict)
call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
turn = said + [
    {"role": "assistant", "content": "", "tool_calls": [call]},
    {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
]
assert client.chat(model=MODEL, messages=turn, tools=[get_weather], options=greedy).done

schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
place = client.chat(
    model=MODEL, messages=said, format=schema, options={"seed": 1, "num_predict": 200}
)
assert set(json.loads(place.message.content)) == {"city", "degrees"}

vectors = client.embed(model=MODEL, input=["one", "two"])
assert len(vectors.embeddings) == 2 and len(vectors.embeddings[0]) > 100
assert len(client.embeddings(model=MODEL, prompt="one").embedding) > 100

assert MODEL in [model.model for model in client.list().models]
shown = client.show(MODEL)
assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"]
assert client.ps().models[0].size > 0

unknown = refused(
    ollama.ResponseError, lambda: client.chat(model="nonesuch", messages=said)
)
assert unknown.status_code == 404
long = [{"role": "user", "content": "word " * 20000}]
too_long = refused(ollama.ResponseError, lambda: client.chat(model=MODEL, messages=long))
assert too_long.status_code == 400 and "context" in too_long.error
stranger = ollama.Client(host=BASE)
assert refused(ollama.ResponseError, lambda: stranger.list()).status_code == 401

stream = client.chat(model=MODEL, messages=said, stream=True, options={"num_predict": 5000})
next(stream)
running()
stream.close()
await_idle()
print("ok")
