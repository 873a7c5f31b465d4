"""`pydantic-ai`: chat, streams, tools, schemas, errors, by both of OpenAI's paths."""

import asyncio

from pydantic import BaseModel, Field
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from node_state import BASE, KEY, MODEL, refused

provider = OpenAIProvider(base_url=BASE + "/v1", api_key=KEY)
chat = OpenAIChatModel(MODEL, provider=provider)
responses = OpenAIResponsesModel(MODEL, provider=provider)
question = "What is the capital of France?"
greedy = {"temperature": 0, "max_tokens": 16}

texts = [
    Agent(model, model_settings=greedy).run_sync(question).output for model in (chat, responses)
]
assert texts[0] and texts[0] == texts[1], texts


async def streamed():
    async with Agent(chat, model_settings=greedy).run_stream(question) as result:
        return "".join([part async for part in result.stream_text(delta=True)])


assert asyncio.run(streamed()) == texts[0]


class Place(BaseModel):
    city: str = Field(max_length=20)
    degrees: int


# The answer is a call of a tool that the model has to make.
writer = Agent(chat, output_type=Place, model_settings={"seed": 1, "max_tokens": 200})
assert isinstance(writer.run_sync("The weather in Paris?").output, Place)

nobody = Agent(OpenAIChatModel("nonesuch", provider=provider))
assert refused(ModelHTTPError, lambda: nobody.run_sync(question)).status_code == 404
print("ok")
