// Writes documents.json and golden.json, or with a folder as argument writes them there: see README.md.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { RecursiveCharacterTextSplitter } from "@langchain/textsplitters";

console.warn = () => {}; // of chunks above the limit

// codePoints differs from LangChain.js in the two ways that package chunk says it does.
class CodePoints extends RecursiveCharacterTextSplitter {
  splitOnSeparator(text, separator) {
    return separator ? super.splitOnSeparator(text, separator) : [...text];
  }
  joinDocs(docs, separator) {
    const text = docs.join(separator).replace(/^\p{White_Space}+/u, "").replace(/\p{White_Space}+$/u, "");
    return text === "" ? null : text;
  }
}

// mulberry32: the same numbers everywhere.
let state = 20240607;
const random = (n) => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
};
const pick = (list) => list[random(list.length)];
const times = (n, make) => Array.from({ length: n }, make).join("");

const word = () => times(1 + random(9), () => pick([..."etaoinshrdlucmfwypvbgkjqxz"]));
const sentence = () => times(2 + random(12), () => word() + pick([" ", " ", " ", ", "])).trim() + pick([". ", ".  ", "? ", ".\n"]);
const paragraph = () => times(1 + random(6), sentence) + pick(["\n\n", "\n\n", "\n", "\n\n\n", "\r\n\r\n", "\n \n"]);
const soup = (letters, n) => times(n, () => pick(letters));

const documents = [
  "", " ", "\n", "x", " x ", "\n\n\n\n\n", " \t\r\n\u00a0\u2028\u3000 ", "\n\nfoo bar\n\nbaz\n\n",
  "a".repeat(300), "a ".repeat(200), "\n".repeat(200), " ".repeat(200), "ab1c2def3".repeat(40), "Hi.\n\n".repeat(60),
  "\ufeffhello there\n\ufeff", "one\u0085two \u0085 three\u00a0four \u001c five",
  "e\u0301te\u0301 a\u0308o\u0308 ".repeat(30), "😀".repeat(50), "👩‍👩‍👧‍👦 👍🏽 ok 🇩🇪🇫🇷\n\n".repeat(8),
  "漢字、かな。".repeat(60), "これは文です。次の文、です。\n\n".repeat(20), "안녕하세요. 반갑습니다, 여러분!\n".repeat(15),
  "one\r\ntwo\nthree\rfour\n\r\n\n".repeat(12), "x" + " ".repeat(150) + "y\n\n" + " ".repeat(90) + "z",
  "a.*+?^${}()|[]\\/-b.*c+?d|e()f[g]h{i}j^k$l\\m/n-o".repeat(6),
  "# Title\n\nText here.\n\n## Part\n\n- one\n- two\n\n```go\nfunc main() {\n\tprintln(1)\n}\n```\n\n***\n\nEnd.\n".repeat(5),
  "package p\n\nfunc f() int {\n\tif x {\n\t\treturn 1\n\t}\n\treturn 2\n}\n\ntype T struct{}\n\nvar v = 1\n".repeat(6),
  soup(["a", "b", " ", "\n"], 400), soup(["a", " ", " ", "\n", "\n"], 400), soup(["aa", "bbb", " ", "  ", "\n\n", "\n"], 250),
  soup(["x", "\n"], 300), soup(["word", " ", "\n\n\n", "\t"], 200), soup(["a", "é", "€", "😀", " ", "\n"], 300),
  soup([..."ab"], 300), soup(["。", "、", "字", " ", "\u3000"], 250), soup([" ", "\n", "\u00a0", "a"], 300),
  times(4, paragraph), times(9, paragraph), times(14, paragraph), times(14, paragraph),
];

const separators = [
  ["\n\n", "\n", " ", ""],
  ["\n\n", "\n", " "],
  [""],
  ["\n\n"],
  [" "],
  [". ", ", ", " ", ""],
  ["a", "b", ""],
  ["aa", "\n\n\n", "ab"],
  ["\n\n", "\n", "。", "、", " ", ""],
  RecursiveCharacterTextSplitter.getSeparatorsForLanguage("markdown"),
  RecursiveCharacterTextSplitter.getSeparatorsForLanguage("go"),
  [".*", "+?", "(", "[", "$", "\\", "|", "/", "-", "^", "{"],
];
const sizes = [
  [1, 0], [2, 0], [2, 1], [3, 2], [5, 0], [5, 4], [10, 0], [10, 3], [17, 16], [40, 0], [40, 11], [100, 0], [100, 20], [100, 99],
  [400, 50], [1000, 0], [1000, 200],
];
const length = { chars: (s) => [...s].length, bytes: (s) => Buffer.byteLength(s) };

// sum is of the chunks in order, each behind its length in bytes.
const sum = (chunks) => {
  const h = createHash("sha256");
  for (const c of chunks) h.update(Buffer.byteLength(c) + ":" + c);
  return h.digest("hex").slice(0, 12);
};

const runs = [];
let same = 0, other = 0;
for (const list of separators) {
  for (const [chunkSize, chunkOverlap] of sizes) {
    for (const unit of list === separators[0] && chunkSize >= 5 ? ["chars", "bytes"] : ["chars"]) {
      const settings = { separators: list, chunkSize, chunkOverlap, lengthFunction: length[unit] };
      const published = new RecursiveCharacterTextSplitter(settings);
      const changed = new CodePoints(settings);
      const results = [];
      for (const text of documents) {
        const [a, b] = [await published.splitText(text), await changed.splitText(text)];
        const equal = a.length === b.length && a.every((c, i) => c === b[i]);
        if (equal) same++;
        else other++;
        results.push(`${b.length} ${sum(b)}${equal ? "" : " changed"}`);
      }
      runs.push({ separators: list, size: chunkSize, overlap: chunkOverlap, unit, results });
    }
  }
}
const folder = process.argv[2] ?? import.meta.dirname;
writeFileSync(folder + "/documents.json", JSON.stringify(documents, null, 0) + "\n");
writeFileSync(folder + "/golden.json", "[\n" + runs.map((r) => JSON.stringify(r)).join(",\n") + "\n]\n");
console.log(`${same + other} pairs of document and settings: ${same} as published, ${other} by code points`);
