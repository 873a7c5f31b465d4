"""The `openai` package at a node whose helpers compute: one is killed in the middle of an answer."""

import json
import os

import openai

from node_state import BASE, KEY, await_idle

client = openai.OpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0)
request = json.loads(os.environ["POTLUCK_REQUEST"])
text = ""
for number, chunk in enumerate(client.chat.completions.create(**request, stream=True)):
    text += chunk.choices[0].delta.content or ""
    if number == 8:
        print("in the middle", flush=True)
        # The helper is gone when the line ends.
        input()
assert text == os.environ["POTLUCK_EXPECTED"], text
await_idle()
print("ok")
