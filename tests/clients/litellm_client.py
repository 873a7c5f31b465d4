"""`litellm`, by either dialect: chat, streams, tools, vectors, errors."""

import litellm

from node_state import BASE, KEY, MODEL, refused

said = [{"role": "user", "content": "What is the capital of France?"}]
openai = {"model": "openai/" + MODEL, "api_base": BASE + "/v1", "api_key": KEY}
ollama = {"model": "ollama_chat/" + MODEL, "api_base": BASE, "api_key": KEY}
texts = []
for way in (openai, ollama):
    asked = {"messages": said, "temperature": 0, "max_tokens": 16, "num_retries": 0, **way}
    answer = litellm.completion(**asked)
    texts.append(answer.choices[0].message.content)
    parts = litellm.completion(stream=True, **asked)
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == texts[-1], (text, texts)
assert texts[0] and texts[0] == texts[1], texts

tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
called = litellm.completion(
    messages=said, tools=[tool], tool_choice="required", seed=1, max_tokens=200, **openai
)
assert called.choices[0].message.tool_calls[0].function.name == "get_weather"
assert called.choices[0].finish_reason == "tool_calls"

vectors = litellm.embedding(input=["one", "two"], **openai)
assert len(vectors.data) == 2

long = [{"role": "user", "content": "word " * 20000}]
refused(
    litellm.ContextWindowExceededError,
    lambda: litellm.completion(messages=long, num_retries=0, **openai),
)
unknown = {**openai, "model": "openai/nonesuch"}
refused(litellm.NotFoundError, lambda: litellm.completion(messages=said, **unknown))
wrong = {**openai, "api_key": "wrong"}
refused(litellm.AuthenticationError, lambda: litellm.completion(messages=said, **wrong))
print("ok")
