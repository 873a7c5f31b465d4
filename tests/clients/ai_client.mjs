// `ai` with `@ai-sdk/openai-compatible`: chat, streams, tools, schemas, vectors, errors.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { base, key, model, awaitIdle } from "./node_state.mjs";

const provider = createOpenAICompatible({
  name: "potluck", baseURL: `${base}/v1`, apiKey: key, supportsStructuredOutputs: true,
});
const here = provider(model);
const greedy = {
  model: here, prompt: "What is the capital of France?", temperature: 0, maxOutputTokens: 16, maxRetries: 0,
};
const { text, usage } = await generateText(greedy);
assert.ok(text && usage.totalTokens > 0);
let streamed = "";
for await (const part of streamText(greedy).textStream) streamed += part;
assert.equal(streamed, text);

const schema = jsonSchema({
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
});
const { object } = await generateObject({ ...greedy, schema, maxOutputTokens: 200 });
assert.deepEqual(Object.keys(object), ["city"]);
const called = await generateText({
  ...greedy, maxOutputTokens: 200, toolChoice: "required",
  tools: { get_weather: tool({ description: "The weather", inputSchema: schema }) },
});
assert.equal(called.toolCalls[0].toolName, "get_weather");
assert.equal(called.finishReason, "tool-calls");

const { embeddings } = await embedMany({
  model: provider.textEmbeddingModel(model), values: ["one", "two"], maxRetries: 0,
});
assert.equal(embeddings.length, 2);
await assert.rejects(
  generateText({ ...greedy, model: provider("nonesuch") }),
  (error) => error.statusCode === 404,
);
const controller = new AbortController();
const endless = streamText({
  ...greedy, maxOutputTokens: 5000, abortSignal: controller.signal, onError() {},
});
for await (const _ of endless.textStream) { controller.abort(); break; }
await awaitIdle();
console.log("ok");
