// Writes golden.json, the encodings of many odd texts by two programs that are not ours, for the tests of package token:
//
//	npm install --no-save js-tiktoken@1.0.21 tiktoken@1.0.22
//	node golden.mjs > golden.json
//
// tiktoken is OpenAI's own, compiled to WebAssembly; js-tiktoken is a port. They must agree. The port means by \s what
// JavaScript does, which has U+FEFF and lacks U+0085, and does not fold ſ to s, so these are kept apart: there the
// first one counts. For every text there is its JSON, then for each encoding the number of tokens and the first 16
// digits of the SHA-256 of the tokens joined by spaces.
import { createHash } from "node:crypto";
import { getEncoding } from "js-tiktoken";
import { get_encoding } from "tiktoken";

const names = ["cl100k_base", "o200k_base", "p50k_base", "r50k_base"];

const texts = [
  "", "a", " ", "\n", "a\n \n y", "a\n\t\n\tb", " no-op\n    \n    _, x", "hello world", "don't DON'T don'T 'tis 'LL'll",
  "I'll we've you're he'd she's I'm 's's'S'sx 'rex 'vE'Re'LLa", "it’s ‘quoted’", "x'ſ 'ſa", "'K 'k", "a'", "'", "''s", " 's", "\n's",
  "\u0085a\u0085 b", "a\ufeffb \ufeff", "\ufeffhello", "a  b   c    d", "  a\t\tb\t c", "a \n", "a\n  ", "a \r\n \r\n b", "\r\r\n\n\r",
  "1234567890 12 345 6,789.01", "٣٤٥٦٧ ½⅓ Ⅷ ²³", "a1b22c333d4444", "foo_bar-baz/qux//\n/\r/", "...\n\n...", "?!\r\n/\n x", " !\n", "!!!!\n\n\n\nx",
  "<|endoftext|> <|fim_prefix|><|endofprompt|>", "HELLOworld helloWORLD HelloWorld XMLHttpRequest aB Ab AB ab",
  "ǅ ǅa Aǅ aǅ ʰa aʰ Aʰ ʰA ªº ªA", "e\u0301te\u0301 E\u0301TE\u0301 \u0301 \u0301a \u0301A A\u0301B", "a\u0301'll A\u0301'S", "\u0301\u0301A", " \u0301A", "-\u0301A",
  "한국어 텍스트ABC한글abc", "你好世界，这是一个测试。你好ABC", "これはテストです。カタカナＡＢＣ１２３", "नमस्ते दुनिया", "สวัสดีชาวโลก", "مرحبا بالعالم", "Привет МИР мИр", "Ἀθῆναι ΑΒΓ",
  "👩‍👩‍👧‍👦👍🏽❤️1️⃣🇩🇪", "𝐀𝐁𝐂 𝟏𝟐𝟑𝟒 𐐀𐐨 𝒜b", "\u00a0a\u00a0\u00a0b", "\u3000a\u3000\u3000", "\u2028a\u2029\u2028b", "\u200b\u200ba", "\u0000\u0001\u0000", "\u00ada",
  " ".repeat(200), "\n".repeat(200), "\t".repeat(99) + "x", "a".repeat(300), "ab".repeat(150), "=".repeat(150) + "\n", "漢".repeat(99), "0".repeat(100),
  "é".repeat(99), "the".repeat(80), " \n".repeat(50), "\r\n".repeat(60) + " ", "👍".repeat(40), "A".repeat(120) + "b", "aA".repeat(60), "-".repeat(64) + "a",
  "func main() {\n\tfmt.Println(\"hello, world\")\n\n\tif err != nil {\n\t\treturn err\n\t}\n}\n", "SELECT * FROM `t` WHERE a='it''s' -- ok\n;",
  "https://example.org/a/b?c=d&e=%20f#g user@example.com", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
];

// A small generator, so that the texts are the same every time.
let state = 1;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const alphabets = [
  ["a", "B", "c", " ", "\n", "'", "s", "1"],
  [" ", "  ", "\n", "\r\n", "\t", "x", ".", "\u00a0", "\u3000", "\u2028"],
  ["'s", "'LL", "'d", "'Re", "'t", "'", "a", "A", " ", "\u0301", "é"],
  ["a", "A", "ǅ", "ʰ", "한", "\u0301", "'", "s", " ", "-", "\n", "1", "É", "\u0903"],
  ["/", "\n", "\r", ".", "-", " ", "a", "\u0301", "1", "٣"],
  ["的", "是", "。", "，", "日", "本", "か", "ー", "A", " ", "1", "\n", "龘", "鬱"],
  ["the", " of", " and", "ing", "tion", " str", "un", "able", "X", "Y", "_", "(", ")", "0"],
  ["😀", "👍", "🏽", "\u200d", "\ufe0f", "é", "ß", "Ж", "ж", "א", " "],
];
for (let i = 0; i < 1600; i++) {
  const letters = alphabets[i % alphabets.length];
  let text = "";
  for (let n = 1 + below(i % 3 ? 12 : 50); n > 0; n--) text += letters[below(letters.length)];
  texts.push(text);
}

const digest = (tokens) =>
  [tokens.length, createHash("sha256").update([...tokens].join(" ")).digest("hex").slice(0, 16)];
const apart = /[\ufeff\u0085]|'ſ/;
const rows = texts.map((text) => ({ text, tokens: {} }));
for (const name of names) {
  const [one, other] = [get_encoding(name), getEncoding(name)];
  for (const row of rows) {
    row.tokens[name] = digest(one.encode(row.text, [], []));
    const again = digest(other.encode(row.text, [], []));
    if (String(again) !== String(row.tokens[name]) && !apart.test(row.text))
      throw new Error(`${name}: the two differ on ${JSON.stringify(row.text)}`);
  }
  one.free();
}
const lines = rows.map((r) => JSON.stringify([r.text, ...names.flatMap((n) => r.tokens[n])]));
console.log("[\n" + lines.join(",\n") + "\n]");
