// Submit a document, watch its events, read its chunks: node example.mjs http://localhost:8484 FILE
import { readFile } from "node:fs/promises";

const [base, path] = process.argv.slice(2);

async function call(url, options = {}) {
  const key = process.env.CHUNKSTREAM_API_KEY;
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const answer = await fetch(base + url, { ...options, headers });
  if (!answer.ok) throw new Error(JSON.stringify(await answer.json())); // problem+json
  return answer;
}

async function* lines(answer) {
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const all = (rest + piece).split("\n");
    rest = all.pop();
    yield* all;
  }
}

const submitted = await call("/v1/operations?chunk_size=200", { method: "POST", body: await readFile(path), headers: { "Content-Type": "text/plain" } });
const operation = await submitted.json();
console.log("operation", operation.id);

for await (const line of lines(await call(operation.links.events + "?since=0"))) {
  if (!line.startsWith("data:")) continue;
  const event = JSON.parse(line.slice(5));
  console.log("event", event.type, event.data.chunks ?? 0);
}
for await (const line of lines(await call(operation.links.chunks, { headers: { Accept: "application/x-ndjson" } }))) {
  const chunk = JSON.parse(line);
  console.log("chunk", chunk.index, chunk.start_byte, chunk.end_byte, JSON.stringify(chunk.text));
}
