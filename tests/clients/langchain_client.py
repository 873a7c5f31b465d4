"""`langchain-openai`: chat, streams, tools, schemas, vectors, errors."""

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

from node_state import BASE, KEY, MODEL, refused

at = {"base_url": BASE + "/v1", "api_key": KEY, "max_retries": 0}
chat = ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, **at)
question = "What is the capital of France?"
answer = chat.invoke(question)
assert answer.content and answer.usage_metadata["total_tokens"] > 0
parts = [part.content for part in chat.stream(question)]
assert "".join(parts) == answer.content


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)
    degrees: int


writer = ChatOpenAI(model=MODEL, seed=1, max_tokens=200, **at)
for method in ("function_calling", "json_schema"):
    place = writer.with_structured_output(Place, method=method).invoke("The weather in Paris?")
    assert isinstance(place, Place), (method, place)
called = writer.bind_tools([Place], tool_choice="any").invoke("The weather in Paris?")
assert called.tool_calls[0]["name"] == "Place"

vectors = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, **at)
assert len(vectors.embed_documents(["one", "two"])) == 2
long = refused(openai.BadRequestError, lambda: chat.invoke("word " * 20000))
assert "context_length_exceeded" in str(long)
print("ok")
