// The types that openapi-typescript makes of the description, used against a real server: node smoke.js URL
import type { components } from "./generated/api";

type Operation = components["schemas"]["Operation"];
type Page = components["schemas"]["ChunkPage"];
type Problem = components["schemas"]["Problem"];
declare const process: { argv: string[] };

const base = process.argv[2];
const text = "One sentence. Another one.";
const body: components["schemas"]["SubmitBody"] = { text, config: { chunk_size: 20 } };
const submitted = await fetch(base + "/v1/operations?wait=30", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
const operation = (await submitted.json()) as Operation;
if (submitted.status !== 202 || operation.status !== "completed") throw new Error(JSON.stringify(operation));
const page = (await (await fetch(base + operation.links.chunks)).json()) as Page;
const chunks = page.data ?? [];
for (const chunk of chunks) if (chunk.text !== text.slice(chunk.start_char, chunk.end_char)) throw new Error(JSON.stringify(chunk));
const missing = await fetch(base + "/v1/operations/op_0");
const problem = (await missing.json()) as Problem;
if (chunks.length < 2 || problem.code !== "not_found") throw new Error(JSON.stringify([page, problem]));
console.log("openapi-typescript:", chunks.length, "chunks");
