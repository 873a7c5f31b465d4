// The `ollama` package: chat, streams, schemas, vectors, errors, cancellation.
import assert from "node:assert/strict";
import { Ollama } from "ollama";
import { base, key, model, awaitIdle } from "./node_state.mjs";

const client = new Ollama({ host: base, headers: { authorization: `Bearer ${key}` } });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const options = { temperature: 0, num_predict: 16 };

const answer = await client.chat({ model, messages, options });
const text = answer.message.content;
assert.ok(text && answer.done);
let streamed = "";
for await (const part of await client.chat({ model, messages, options, stream: true })) {
  streamed += part.message.content;
}
assert.equal(streamed, text);
const whole = await client.generate({ model, prompt: messages[0].content, options });
assert.equal(whole.response, text);

const format = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const place = await client.chat({ model, messages, format, options: { seed: 1, num_predict: 200 } });
assert.deepEqual(Object.keys(JSON.parse(place.message.content)), ["city"]);

assert.equal((await client.embed({ model, input: ["one", "two"] })).embeddings.length, 2);
assert.ok((await client.list()).models.some((one) => one.name === model));
assert.ok((await client.show({ model })).capabilities.includes("completion"));
await assert.rejects(client.chat({ model: "nonesuch", messages }), (error) => error.status_code === 404);

const endless = await client.chat({ model, messages, stream: true, options: { num_predict: 5000 } });
setTimeout(() => endless.abort(), 200);
await assert.rejects(async () => {
  for await (const _ of endless);
  // It may have come to its end before.
  throw new DOMException("ended", "AbortError");
});
await awaitIdle();
console.log("ok");
