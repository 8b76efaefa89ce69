// Reads chunks in each format with the program it is for, and prints what it found as JSON: for each format, the chunks in
// their order with id, text, index and some more. The argument is a folder with chunks.jsonl, .json, .csv, .parquet,
// .langchain, .qdrant and .pgvector.
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import { Document } from "@langchain/core/documents";
import { InMemoryStore } from "@langchain/core/stores";

const folder = process.argv[2];
const file = (ending) => `${folder}/chunks.${ending}`;
const lines = (ending) => readFileSync(file(ending), "utf8").split("\n").filter(Boolean).map((l) => JSON.parse(l));
const found = {};

const duck = await (await DuckDBInstance.create(":memory:")).connect();
const query = async (sql) => (await duck.runAndReadAll(sql)).getRowObjectsJson();
const columns = `id, "index"::INTEGER AS "index", text, start_byte::INTEGER AS start, end_line::INTEGER AS end_line, strategy`;
found.jsonl = await query(`SELECT ${columns} FROM read_json('${file("jsonl")}', format = 'newline_delimited') ORDER BY 2`);
found.json = await query(`SELECT ${columns} FROM read_json('${file("json")}', format = 'array') ORDER BY 2`);
found.csv = await query(`SELECT ${columns} FROM read_csv('${file("csv")}', header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', max_line_size = 4000000) ORDER BY 2`);
found.parquet = await query(`SELECT ${columns} FROM read_parquet('${file("parquet")}')`);

const store = new InMemoryStore();
await store.mset(lines("langchain").map(({ id, page_content, metadata }) => [id, new Document({ id, pageContent: page_content, metadata })]));
const ids = lines("langchain").map((l) => l.id);
found.langchain = (await store.mget(ids)).map((d) => {
  if (!(d instanceof Document)) throw new Error("not a Document");
  return { id: d.id, index: d.metadata.index, text: d.pageContent, start: d.metadata.start_byte, end_line: d.metadata.end_line, strategy: d.metadata.strategy };
});

found.qdrant = lines("qdrant").map(({ id, vector, payload }) => {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)) throw new Error(`no UUID: ${id}`);
  if (Object.keys(vector).length > 0) throw new Error("a vector");
  return { id: payload.chunk_id, index: payload.index, text: payload.text, start: payload.start_byte, end_line: payload.end_line, strategy: payload.strategy };
});

const pg = await PGlite.create({ extensions: { vector } });
const sql = readFileSync(file("pgvector"), "utf8");
await pg.exec(sql);
await pg.exec(`UPDATE chunks SET embedding = '[1,2,3]'`);
await pg.exec(sql); // again: the same rows, with their embeddings
const rows = await pg.query(`SELECT id, idx::int AS index, content AS text, (metadata->>'start_byte')::int AS start,
  (metadata->>'end_line')::int AS end_line, metadata->>'strategy' AS strategy, embedding <-> '[1,2,4]' AS distance FROM chunks ORDER BY idx`);
found.pgvector = rows.rows.map(({ distance, ...row }) => {
  if (distance !== 1) throw new Error(`the distance is ${distance}`);
  return row;
});
await pg.close();

console.log(JSON.stringify(found));
