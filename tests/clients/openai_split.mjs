// The `openai` package at a node whose helpers compute: one is killed in the middle of an answer.
import assert from "node:assert/strict";
import { once } from "node:events";
import OpenAI from "openai";
import { base, key, awaitIdle } from "./node_state.mjs";

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const request = JSON.parse(process.env.POTLUCK_REQUEST);
let text = "";
let number = 0;
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  number += 1;
  if (number === 8) {
    console.log("in the middle");
    // The helper is gone when something comes.
    await once(process.stdin, "data");
  }
}
assert.equal(text, process.env.POTLUCK_EXPECTED);
await awaitIdle();
console.log("ok");
process.exit(0);
