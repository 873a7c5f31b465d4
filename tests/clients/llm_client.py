"""`llm`: chat, streams, tools, schemas, by its file of models."""

import json
import os
import pathlib
import tempfile

from node_state import BASE, KEY, MODEL

folder = tempfile.mkdtemp()
os.environ["LLM_USER_PATH"] = folder
pathlib.Path(folder, "extra-openai-models.yaml").write_text(
    f"""
- model_id: here
  model_name: "{MODEL}"
  api_base: "{BASE}/v1"
  api_key_name: here
  supports_tools: true
  supports_schema: true
"""
)
pathlib.Path(folder, "keys.json").write_text(json.dumps({"here": KEY}))

import llm  # noqa: E402

model = llm.get_model("here")
question = "What is the capital of France?"
greedy = {"temperature": 0, "max_tokens": 16}
whole = model.prompt(question, stream=False, **greedy)
text = whole.text()
assert text and whole.usage().output > 0
assert "".join(model.prompt(question, **greedy)) == text

schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
place = model.prompt("A city?", schema=schema, seed=1, max_tokens=200)
assert list(json.loads(place.text())) == ["city"]


def get_weather(city: str) -> str:
    """The weather."""
    return "sunny in " + city


asked = model.prompt("The weather in Paris?", tools=[get_weather], seed=1, max_tokens=40)
asked.text()
for call in asked.tool_calls():
    assert call.name == "get_weather" and isinstance(call.arguments, dict)
print("ok")
