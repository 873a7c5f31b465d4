// The `openai` package: chat, streams, tools, schemas, vectors, errors, cancellation, responses.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { base, key, model, awaitIdle } from "./node_state.mjs";

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const greedy = { model, messages, temperature: 0, max_tokens: 16 };

const answer = await client.chat.completions.create(greedy);
const text = answer.choices[0].message.content;
assert.ok(text && answer.usage.total_tokens > 0);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...greedy, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);
const helper = client.chat.completions.stream(greedy);
assert.equal(await helper.finalContent(), text);

const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "get_weather", parameters } };
const asked = { ...greedy, tools: [tool], tool_choice: "required", seed: 1, max_tokens: 200 };
const called = client.chat.completions.stream(asked);
const call = (await called.finalChatCompletion()).choices[0].message.tool_calls[0];
assert.equal(call.function.name, "get_weather");
assert.equal(typeof JSON.parse(call.function.arguments).city, "string");

const format = { type: "json_schema", json_schema: { name: "place", schema: parameters, strict: true } };
const place = await client.chat.completions.create({
  ...greedy, response_format: format, max_tokens: 200,
});
assert.deepEqual(Object.keys(JSON.parse(place.choices[0].message.content)), ["city"]);

const vectors = await client.embeddings.create({ model, input: ["one", "two"] });
assert.equal(vectors.data.length, 2);
assert.ok(vectors.data[0].embedding.length > 100);
assert.ok(vectors.data[0].embedding.some((number) => number !== 0));

assert.equal((await client.models.retrieve(model)).id, model);
const response = await client.responses.create({ model, input: "Say hello", max_output_tokens: 8 });
assert.ok(response.output_text);

await assert.rejects(
  client.chat.completions.create({ ...greedy, model: "nonesuch" }),
  (error) => error.status === 404 && error.code === "model_not_found",
);
const stranger = new OpenAI({ baseURL: `${base}/v1`, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(stranger.models.list(), (error) => error.status === 401);

const endless = await client.chat.completions.create({
  ...greedy, stream: true, max_tokens: 5000, logit_bias: { 0: -100, 2: -100 },
});
for await (const _ of endless) break;
endless.controller.abort();
await awaitIdle();
console.log("ok");
